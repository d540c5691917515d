"""A running source or Discovery in a test, and conditions on what the mesh was told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from discovery.guard import GuardSettings
from discovery.lastgood import LastGood
from discovery.source import Source
from discovery.supervisor import Discovery, SourceStatus
from mesh.events import Changes, Event
from mesh.names import Key
from mesh.state import MeshState
from mesh.workload import Endpoint, Workload


@dataclass
class Told:
    """What the mesh was told: its state, and each event with the moment it came."""

    discovery: Discovery
    state: MeshState = field(default_factory=lambda: MeshState("mesh.test"))
    events: list[tuple[float, Event]] = field(default_factory=list)
    changes: list[Changes] = field(default_factory=list)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def apply(self, event: Event) -> None:
        self.state, changes = self.state.apply(event)
        self.events.append((time.monotonic(), event))
        self.changes.append(changes)
        self._moved.set()

    async def until(self, condition: Callable[[], object], seconds: float = 15) -> float:
        """When `condition` became true, by the monotonic clock. It is looked at after each event and often besides."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._moved.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await self._moved.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {seconds} s; status {self.discovery.status()}; workloads {dict(self.state.workloads)}"
            ) from None
        return time.monotonic()

    def workload(self, name: str, namespace: str = "default") -> Workload | None:
        return self.state.workloads.get(Key(namespace, name))

    def endpoints(self, service: str, namespace: str = "default") -> tuple[Endpoint, ...]:
        """The endpoints of the service's first port that may get traffic."""
        key = Key(namespace, service)
        found = self.state.services.get(key)
        return self.state.endpoints(key, found.ports[0]) if found else ()

    def status(self, source: str = "consul") -> SourceStatus:
        return next(each for each in self.discovery.status() if each.name == source)


@contextlib.asynccontextmanager
async def told_by(
    *sources: Source,
    lastgood: LastGood | None = None,
    settings: GuardSettings | None = None,
    patience: float = 0.3,
    ready: bool = True,
) -> AsyncIterator[Told]:
    """A Discovery over `sources`, running; with `ready`, once it is ready."""
    discovery = Discovery(
        sources,
        lastgood=lastgood,
        clock=time.monotonic,
        random=random.Random(1).random,
        guard_settings=settings,
        patience=patience,
    )
    told = Told(discovery)
    task = asyncio.create_task(discovery.run(told.apply))
    try:
        if ready:
            await told.until(discovery.ready.is_set)
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
