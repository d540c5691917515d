"""Kinds by whatever people type."""

from __future__ import annotations

import pytest

from meshwright.commands.kinds import SHORT, kind_of
from meshwright.errors import ExitCode, UsageError
from policies.registry import KINDS


def test_the_list_of_the_command_line_is_the_registrys() -> None:
    assert set(SHORT) == {each.name for each in KINDS}


def test_no_two_kinds_share_a_name() -> None:
    names = [short for kind, others in SHORT.items() for short in (kind.lower(), *others)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["HTTPRoute", "httproute", "httproutes", "HTTPRoutes", "hr", "route"])
def test_one_kind_has_many_names(text: str) -> None:
    assert kind_of(text) == "HTTPRoute"


def test_a_plural_in_ies() -> None:
    assert kind_of("retrypolicies") == "RetryPolicy"


def test_what_is_no_kind_says_which_was_meant() -> None:
    with pytest.raises(UsageError, match="did you mean HTTPRoute") as refused:
        kind_of("htproute")
    assert refused.value.exit_code is ExitCode.USAGE
