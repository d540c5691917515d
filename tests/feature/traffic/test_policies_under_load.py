"""Policies of every kind that changes the filters of a port come, change and go under load, and no request is lost: neither then, nor at the
end of the 45 s in which connections with the old filters are drained.

A thousand requests a second over HTTP/1.1, and gRPC calls over HTTP/2; MESHWRIGHT_LOAD makes it another rate. `test_route_policies_under_load.py`
and `test_balancing_under_load.py` have all other kinds. They have a mesh of their own, with the drain time that operators have.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from envoy.bootstrap import DRAIN_TIME
from tests.support.traffic import policy_changes
from tests.support.traffic.draining import drained
from tests.support.traffic.policy_changes import EVERY, OF_CHAINS, calling, no_request_is_lost
from tests.support.traffic.world import Traffic, World

RATE = float(os.environ.get("MESHWRIGHT_LOAD", "1000"))
URL = "http://api.mesh/load"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def calm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traffic]:
    folder = tmp_path_factory.mktemp("calm")
    async with World(folder, only=policy_changes.ONLY, drain_time=DRAIN_TIME) as world:
        yield Traffic(world)


async def test_no_change_of_a_ports_filters_loses_a_request(calm: Traffic) -> None:
    async with calling(calm, rate=50) as calls, calm.load(URL, rate=RATE) as load:
        await policy_changes.change(calm, OF_CHAINS, load, int(RATE * 0.05))
    no_request_is_lost(load.report, RATE)
    assert calls.count
    assert calls.failures == []


@pytest.mark.heavy
async def test_nor_does_the_end_of_their_drain(calm: Traffic) -> None:
    """All kinds, one after another; bursts leave idle connections behind, for those are what the end of a drain cuts."""
    async with calling(calm, rate=50) as calls, calm.load(URL, rate=RATE) as load:
        for kind in EVERY:
            answers = await calm.many(48, URL, headers={"x-behave": "delay=100ms"}, concurrency=48)
            assert {each.status for each in answers} == {200}
            await policy_changes.change(calm, [kind], load, int(RATE))
        await drained(calm, 2 * DRAIN_TIME)
        await load.more(int(RATE))
    no_request_is_lost(load.report, RATE)
    assert calls.failures == []
    print(f"{load.report.sent} requests at {load.report.rate:.0f}/s, {calls.count} gRPC calls")
    closed = await calm.envoy("web").stats(r"^cluster\.default/api:80\.upstream_cx_destroy_remote$")
    assert sum(closed.values()) == 0, "a callee closed connections that its caller would have used"
