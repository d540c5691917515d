"""Policies of every kind that changes routes come, change and go under load, and no request is lost.

Others are in `test_policies_under_load.py` and `test_balancing_under_load.py`.
"""

from __future__ import annotations

import os

from policies.registry import POLICIES
from tests.support.traffic import policy_changes
from tests.support.traffic.draining import DRAINING, drained
from tests.support.traffic.policy_changes import (
    EVERY,
    OF_CHAINS,
    OF_CLUSTERS,
    OF_ROUTES,
    calling,
    no_request_is_lost,
)
from tests.support.traffic.world import Traffic

RATE = float(os.environ.get("MESHWRIGHT_LOAD", "1000"))


def test_there_is_a_change_of_every_kind() -> None:
    kinds = {each.name for each in POLICIES}
    assert set(EVERY) == kinds, "a kind needs two policies that no request notices, see policy_changes"
    assert len(EVERY) == sum(map(len, (OF_CHAINS, OF_CLUSTERS, OF_ROUTES)))


async def test_no_change_of_a_policy_loses_a_request(traffic: Traffic) -> None:
    await drained(traffic)  # of what earlier tests have changed
    async with calling(traffic, rate=50) as calls, traffic.load("http://api.mesh/load", rate=RATE) as load:
        await policy_changes.change(traffic, OF_ROUTES, load, int(RATE * 0.05))
        draining = [await each.stats(DRAINING) for each in traffic.world.sidecars.values()]
    no_request_is_lost(load.report, RATE)
    assert calls.count
    assert calls.failures == []
    assert not any(sum(each.values()) for each in draining), "a change touched the filters of a port"
