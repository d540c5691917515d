"""Each check sees its bad example, and does not see the cured one."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from meshwright.analysis.catalogue import CHECKS, chosen
from meshwright.analysis.examples import sight
from meshwright.analysis.finding import Check, Example, Found, Severity
from meshwright.analysis.markdown import page
from meshwright.analysis.run import analyze


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_a_check_sees_its_bad_example_and_not_the_cured_one(check: Check) -> None:
    found = list(check.look(sight(check.bad)))
    assert found, f"{check.code} does not see its own example"
    for each in found:
        assert each.subject
        assert each.message
        assert "\n" not in each.message
    assert not list(check.look(sight(check.good))), f"{check.code} sees it in the cured example, too"


def test_a_document_in_quarantine_is_found_once() -> None:
    subject = "EnvoyPatch default/bad at envoy 1.40"
    bad = Example(live={"problems": {subject: "Envoy refuses it"}, "quarantined": [subject]})
    codes = [each.check.code for each in analyze(sight(bad)) if each.found.subject == subject]
    assert codes == ["MW0516"]


@pytest.mark.parametrize("code", ["MW0504", "MW0517"])
def test_what_may_be_at_another_replica_is_not_told(code: str) -> None:
    (check,) = chosen([code])
    assert not list(check.look(sight(replace(check.bad, live={**check.bad.live, "replicas": 2}))))


def test_there_are_at_least_forty_with_codes_of_their_own() -> None:
    counted = Counter(each.code for each in CHECKS)
    assert len(counted) >= 40
    assert set(counted.values()) == {1}
    assert [each.code for each in CHECKS] == sorted(counted)
    assert all(re.fullmatch(r"MW\d{4}", code) for code in counted)


def test_the_example_mesh_itself_is_in_order() -> None:
    assert [
        (each.check.code, each.found.subject)
        for each in analyze(sight(Example()))
        if each.check.severity is not Severity.INFO
    ] == []


def test_the_worst_comes_first_and_a_check_that_fails_hides_no_other() -> None:
    def fails(_: object) -> list[Found]:
        raise ZeroDivisionError("oh")

    good = chosen(["MW0101", "MW0111"])
    broken = Check("MW9999", "", Severity.WARNING, "", "", fails, Example(), Example())  # type: ignore[arg-type]
    found = analyze(sight(good[0].bad), (*good, broken))
    assert [each.check.code for each in found] == ["MW0101", "MW9999"]
    assert "ZeroDivisionError" in found[1].found.message


def test_codes_are_chosen_by_how_they_begin() -> None:
    assert {each.code for each in chosen(["mw01"])} == {each.code for each in CHECKS if each.code < "MW02"}
    with pytest.raises(KeyError):
        chosen(["MW77"])


def test_the_page_is_written_from_the_checks() -> None:
    written = (Path(__file__).parents[3] / "docs" / "analyze.md").read_text()
    assert written == page(), "make analyze-doc"
