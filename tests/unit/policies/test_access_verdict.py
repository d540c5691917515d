"""The evaluator on the table that real sidecars are held against, too (`tests/feature/traffic/test_access_*.py`)."""

from __future__ import annotations

import pytest

from policies.access_verdict import verdict
from tests.support.access_cases import Case, RuleSet, all_cases, port, state


@pytest.mark.parametrize(
    ("rules", "case"),
    tuple(all_cases()),
    ids=lambda each: each.name if isinstance(each, RuleSet) else each.line,
)
def test_the_table(rules: RuleSet, case: Case) -> None:
    mesh = state(rules.documents())
    found = verdict(mesh, rules.service, port(mesh, rules.service), case.who, case.request)
    assert found.by == rules.refused_by(case)


def test_the_table_is_as_long_as_promised() -> None:
    assert sum(1 for _ in all_cases()) >= 80
