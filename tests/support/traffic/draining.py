"""Policies that change the filters of a port: connections that were open go on with the old ones until they are drained."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tests.support.processes import PATIENCE, eventually
from tests.support.traffic.applying import AppliedFile
from tests.support.traffic.world import Traffic

DRAINING = r"^listener_manager\.total_filter_chains_draining$"


@contextlib.asynccontextmanager
async def applied_to_all(traffic: Traffic, documents: str) -> AsyncIterator[AppliedFile]:
    """As `traffic.apply`; within the block and after it no connection is left that has the filters of before."""
    async with traffic.apply(documents) as file:
        await drained(traffic)
        yield file
    await drained(traffic)


async def drained(traffic: Traffic, patience: float = PATIENCE) -> None:
    """Return when no connection of before the last change is left, within `patience` seconds."""

    async def none_is_left() -> bool:
        for sidecar in traffic.world.sidecars.values():
            if sum((await sidecar.stats(DRAINING)).values()):
                return False
        return True

    await eventually(none_is_left, "no filter chain is draining", patience=patience, every=0.05)
