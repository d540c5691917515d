"""AccessPolicy: who may call. Each set of rules of the table, on real sidecars and on the evaluator."""

from __future__ import annotations

import pytest

from tests.support.access_cases import CALLERS, RuleSet
from tests.support.traffic.access import differences
from tests.support.traffic.world import Traffic


@pytest.mark.parametrize("rules", CALLERS, ids=lambda each: each.name)
async def test_the_sidecar_and_the_evaluator_say_what_the_table_says(
    traffic: Traffic, rules: RuleSet
) -> None:
    assert await differences(traffic, rules) == []
