"""Where a workload is, for its proxy: an agent that was not told knows no labels of the node that it runs on, but the registry does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mesh.names import Key
from mesh.state import MeshState
from mesh.workload import Locality

PATIENCE: Final = 3.0
"""Seconds: a pod's address, with which it is discovered, is told within two of its start; the agent's call lasts ten at most."""
EVERY: Final = 0.1


class Whereabouts:
    """Answers by the state of the mesh, as `ca.join.Locate`."""

    def __init__(self, state: Callable[[], MeshState], *, patience: float = PATIENCE) -> None:
        self._state = state
        self._patience = patience

    async def locate(self, workload: Key, awaits: bool) -> Locality:
        """Nowhere if nobody says it, or, after waiting with `awaits`, the workload is not discovered."""
        if awaits:
            try:
                async with asyncio.timeout(self._patience):
                    # A look at a map is cheaper than to be told of every event.
                    while workload not in self._state().workloads:  # noqa: ASYNC110
                        await asyncio.sleep(EVERY)
            except TimeoutError:
                pass  # it joins all the same: without a place of its own, requests go everywhere alike
        found = self._state().workloads.get(workload)
        return Locality() if found is None else found.locality
