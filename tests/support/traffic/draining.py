"""Connections that were opened before a change of a listener's filter chain keep what held then, until it is drained."""

from __future__ import annotations

from tests.support.processes import eventually
from tests.support.traffic.world import Traffic

PATTERN = r"^listener_manager\.total_(filter_chains|listeners)_draining$"


async def drained(traffic: Traffic, *workloads: str) -> None:
    """Return when none of the sidecars (by default: all) has an old filter chain or listener left: 1 s here, 45 s by default."""

    async def none_left() -> bool:
        for name in workloads or traffic.world.sidecars:
            found = await traffic.envoy(name).stats(PATTERN)
            assert not any(found.values()), (name, found)
        return True

    await eventually(none_left, "old filter chains are gone", every=0.05, patience=15)
