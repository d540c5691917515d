"""Limits, checks, ejections, retries and balancing come, change and go under load, and no request is lost."""

from __future__ import annotations

import os

from tests.support.traffic import policy_changes
from tests.support.traffic.balancing import URL, policy
from tests.support.traffic.policy_changes import OF_CLUSTERS, calling, no_request_is_lost
from tests.support.traffic.world import Traffic

RATE = float(os.environ.get("MESHWRIGHT_LOAD", "1000"))
PLACES = (
    "algorithm: ringHash",
    "locality: {mode: failover}",
    "locality: {mode: strict, within: region}\n  panicThreshold: 20",
    "locality: {mode: zoneAware}\n  slowStart: {window: 1s}",
)


async def test_no_change_of_a_policy_loses_a_request(traffic: Traffic) -> None:
    between = int(RATE * 0.05)
    async with calling(traffic, rate=50) as calls, traffic.load(URL, rate=RATE) as load:
        await policy_changes.change(traffic, OF_CLUSTERS, load, between)
        for spec in PLACES:
            async with traffic.apply(policy(spec)):
                await load.more(between)
            load.must_not_have_failed(spec)
        await load.more(between)
    no_request_is_lost(load.report, RATE)
    assert calls.count
    assert calls.failures == []
