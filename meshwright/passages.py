"""Ports that go from strict to off, or back: permissive until those have heard of it who must hear first.

To off, the sidecar that is called: callers are told to speak plaintext once it takes that. To strict, the callers: plaintext is refused
once none of them speaks it. What is published is acknowledged by each proxy in its own time, so that nothing else keeps this order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from mesh.names import Key
from mesh.state import MeshState
from mesh.transport import Passage, TlsMode
from meshwright.pipeline import Pipeline
from policies.transport import passages
from xds.status import ClientStatus
from xds.types import ENDPOINT, LISTENER

EVERY = 0.05
"""Seconds between two looks at what was acknowledged, while a passage goes on."""

PATIENCE = 20.0
"""Seconds that callers have, as for any update: then the port is strict, whoever has not heard. A sidecar that does not take plaintext is
waited for as long as it is connected, for until then its callers are well served."""

log = structlog.get_logger(__name__)


class Passages:
    def __init__(
        self,
        pipeline: Pipeline,
        clients: Callable[[], Iterable[ClientStatus]],
        clock: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        self._pipeline = pipeline
        self._clients = clients
        self._clock = clock
        self._patience = patience
        self._under_way: dict[Passage, TlsMode] = {}
        self._changed = asyncio.Event()

    def changed(self, old: MeshState, new: MeshState) -> None:
        """Told of each event's states before and after, before anything of it is published."""
        found = passages(old, new)
        if found is None or not (found or self._under_way):
            return
        self._under_way = found
        self._pipeline.passing_through(frozenset(self._under_way))
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._pipeline.settled()
            began, heard = self._clock(), set[str]()
            while self._under_way and not self._changed.is_set():
                looked = self._clock()
                late = looked - began >= self._patience
                callees, callers = self._waited_for(heard)
                cost = self._clock() - looked
                over = {
                    place
                    for place, mode in self._under_way.items()
                    if (place.workload not in callees if mode is TlsMode.OFF else late or not callers)
                }
                if over:
                    if late and callers:
                        log.warning(
                            "strict before all callers have heard of it", lagging=sorted(callers)[:20]
                        )
                    for place in over:
                        del self._under_way[place]
                    self._pipeline.passing_through(frozenset(self._under_way))
                if self._under_way:
                    await asyncio.sleep(max(EVERY, 10 * cost))

    def _waited_for(self, heard: set[str]) -> tuple[set[Key], set[str]]:
        """The workloads whose sidecars have not acknowledged their listeners, and the clients that have not their endpoints, since
        `heard`, to which the others are added.
        """
        callees, callers = set[Key](), set[str]()
        for client in self._clients():
            for kind in (LISTENER, ENDPOINT):
                if all(each.in_sync for each in client.types if each.type_url == kind):
                    heard.add(f"{kind} {client.id}")
            if f"{LISTENER} {client.id}" not in heard:
                callees.add(Key.parse(client.node_id))
            if f"{ENDPOINT} {client.id}" not in heard:
                callers.add(client.id)
        return callees, callers
