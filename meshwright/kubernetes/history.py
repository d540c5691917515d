"""Keeps what documents were, as ControllerRevisions beside them: one replica does, while it holds the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from kube.client import Cluster, Selector
from kube.errors import AlreadyExists, ApiError, Forbidden, NotFound
from kube.following import Event
from kube.reflector import Reflector
from store.kubernetes_held import Held
from store.kubernetes_history import KIND, REVISIONS, Kept, kept, missing, revision, surplus

LOOK: Final = 0.5
"""Seconds between two looks at whether anything has changed: a look compares references."""
AGAIN: Final = 15.0
"""Seconds after which what failed is tried again."""

ENDS: Final = "because it is being terminated"
"""What the API server says of a namespace that goes with all that is in it (a 403, like a right that is missing)."""

log = structlog.get_logger(__name__)


class History:
    """`most`: revisions of each document. `clock` gives seconds and never goes back."""

    def __init__(
        self,
        cluster: Cluster,
        held: Callable[[], Held],
        most: int,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._held = held
        self._most = most
        self._clock = clock
        self._moves = 0
        self._told = ""
        self._reflector = Reflector(
            cluster, REVISIONS, kept, selector=Selector(labels=KIND), clock=clock, random=random
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reflector.run(self._tell))
            await self._keep()

    def _tell(self, events: Sequence[Event[Kept]]) -> None:
        self._moves += len(events)

    async def _keep(self) -> None:
        seen: tuple[object, int] | None = None
        while True:
            held, moves = self._held(), self._moves
            # Documents are others with each generation, and stay when a status is written.
            if self._reflector.synced and (seen is None or seen[0] is not held.documents or seen[1] != moves):
                seen = held.documents, moves
                try:
                    await self._write(held)
                except ApiError as error:
                    if str(error) != self._told:
                        log.warning("the history of documents was not kept", reason=str(error))
                    self._told, seen = str(error), None
                    await asyncio.sleep(AGAIN)
            await asyncio.sleep(LOOK)

    async def _write(self, held: Held) -> None:
        there = dict(self._reflector.values)
        lacking, old = await asyncio.to_thread(
            lambda: (list(missing(held.objects.values(), there.values())), list(surplus(there, self._most)))
        )
        refused: Forbidden | None = None
        for found in lacking:
            try:
                await self._cluster.create(REVISIONS, revision(found), found.key.namespace)
            except (AlreadyExists, NotFound):
                continue  # The watch has not brought it yet; or its namespace is gone.
            except Forbidden as error:
                if ENDS not in str(error):
                    refused = error  # Others may be written all the same.
        for name in old:
            try:
                await self._cluster.delete(REVISIONS, name.name, name.namespace)
            except NotFound:
                continue
        if refused is not None:
            raise refused
