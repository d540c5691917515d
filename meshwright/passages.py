"""Ports that go from strict to off, or back: permissive until those have heard of it who must hear first.

To off, the sidecar that is called: callers are told to speak plaintext once it takes that. To strict, the callers: plaintext is refused
once none of them speaks it. What is published is acknowledged by each proxy in its own time, so that nothing else keeps this order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from mesh.events import Changes
from mesh.names import Key
from mesh.state import MeshState
from mesh.transport import Passage, TlsMode
from meshwright.pipeline import Pipeline
from meshwright.publisher import client_ids
from policies.transport import Transport, changed, passages
from xds.types import ENDPOINT, LISTENER

EVERY = 0.05
"""Seconds between two looks at what was acknowledged, while a passage goes on."""

PATIENCE = 30.0
"""Seconds that callers have, as for any update: then the port is strict, whoever has not heard. A sidecar that does not take plaintext is
waited for as long as it is connected, for until then its callers are well served."""

SETTLE = 1.0
"""Seconds between the last acknowledgement and what it was waited for. An Envoy acknowledges when its main thread has an update; its workers have
it a moment later, and what they were doing meanwhile is under way: a connection of the old kind must not arrive where the new one is wanted.
"""

SILENCE = 15.0
"""Seconds that strict comes later still. A caller's Envoy may have opened a connection that it has not needed yet: the sidecar that it leads to
waits for its first bytes, decides only then by which filters it is served, those of that moment, and after so long without any closes it or serves
it as plaintext (Envoy's `listener_filters_timeout`, where `envoy.plaintext` says no less). Were the port strict before, the first request on such a
connection would be lost.
"""

PIECE = 100
"""Workloads, about, whose ports are reckoned before other work of the loop gets its turn: some 2 ms."""

log = structlog.get_logger(__name__)


class Stream(Protocol):
    @property
    def client(self) -> str: ...
    def in_sync(self, type_url: str) -> bool: ...


class Streams(Protocol):
    """The streams that are open: all, and those of one client."""

    def streams(self) -> Iterable[Stream]: ...
    def streams_of(self, client: str) -> Iterable[Stream]: ...


@dataclass(slots=True)
class _Batch:
    """Places that set out together. `began`: when it was published; `heard`: the types, and clients, that were acknowledged since. `clear`: since
    when nobody is waited for, by the workload that is called, or None for all callers.
    """

    began: float | None = None
    heard: set[tuple[str, str]] = field(default_factory=set)
    clear: dict[Key | None, float] = field(default_factory=dict)

    def settled(self, whom: Key | None, *, waits: bool, now: float, settle: float) -> bool:
        """Whether nobody has been waited for, for long enough."""
        if waits:
            self.clear.pop(whom, None)
            return False
        return now - self.clear.setdefault(whom, now) >= settle


@dataclass(frozen=True, slots=True)
class _Way:
    to: TlsMode
    batch: _Batch


class Passages:
    def __init__(
        self,
        pipeline: Pipeline,
        streams: Streams,
        clock: Callable[[], float],
        patience: float = PATIENCE,
        settle: float = SETTLE,
        silence: float = SILENCE,
    ) -> None:
        self._pipeline = pipeline
        self._streams = streams
        self._clock = clock
        self._patience = patience
        self._settle = settle
        self._silence = silence
        self._under_way: dict[Key, dict[Passage, _Way]] = {}
        self._changed = asyncio.Event()
        # What is to be reckoned yet: services, and the state from before the first change of them.
        self._todo: dict[Key, None] = {}
        self._old: Transport | None = None
        self._new: Transport | None = None
        self._base = pipeline.state
        self._fresh = _Batch()
        pipeline.before_publishing = self.reckoned

    def changed(self, old: MeshState, new: MeshState, changes: Changes) -> None:
        """Told of each event's states before and after, before anything of it is published: nothing is until all is `reckoned`."""
        if not changed(old, new):
            return
        if self._old is None:
            self._old, self._fresh = Transport(old), _Batch()
        self._todo.update(dict.fromkeys(sorted(changes.services | changes.endpoints)))
        self._reckon_some()

    async def reckoned(self) -> None:
        """Return when what has changed is reckoned; a piece at a time."""
        while self._old is not None:
            await asyncio.sleep(0)
            self._reckon_some()

    def _reckon_some(self) -> None:
        """A piece of what is to do; after the last one, the state says what is under way."""
        if self._old is None:
            return
        # What is on its way by now matters to none that starts.
        if self._new is None or self._base is not self._pipeline.state:
            self._base = self._pipeline.state
            self._new = Transport(replace(self._base, passing=frozenset()))
        looked = 0
        while self._todo and looked < PIECE:
            service = next(iter(self._todo))
            del self._todo[service]
            looked += 1 + len(self._base.members.get(service, ()))
            before = self._under_way.pop(service, {})
            found = {
                place: before[place]
                if place in before and before[place].to is mode
                else _Way(mode, self._fresh)
                for place, mode in passages(self._old, self._new, service).items()
            }
            if found:
                self._under_way[service] = found
        if not self._todo:
            self._old = self._new = None
            self._tell()
            if self._under_way:
                self._changed.set()

    def _tell(self) -> None:
        passing = frozenset(place for of_service in self._under_way.values() for place in of_service)
        if passing != self._pipeline.state.passing:
            self._pipeline.passing_through(passing)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._under_way:  # There may be some at once, where this was started again.
                await self._changed.wait()
            self._changed.clear()
            await self._pipeline.settled()
            while self._under_way and not self._changed.is_set():
                looked = self._clock()
                if self._old is None:
                    self._look(looked)
                if self._under_way:
                    await asyncio.sleep(max(EVERY, 10 * (self._clock() - looked)))

    def _look(self, now: float) -> None:
        """Take from what is under way that of which those have heard who must."""
        batches: dict[int, tuple[_Batch, list[tuple[Passage, TlsMode]]]] = {}
        for of_service in self._under_way.values():
            for place, way in of_service.items():
                batches.setdefault(id(way.batch), (way.batch, []))[1].append((place, way.to))
        over = [place for batch, ways in batches.values() for place in self._over(batch, ways, now)]
        for place in over:
            of_service = self._under_way[place.service]
            del of_service[place]
            if not of_service:
                del self._under_way[place.service]
        if over:
            self._tell()

    def _over(self, batch: _Batch, ways: Iterable[tuple[Passage, TlsMode]], now: float) -> Iterator[Passage]:
        if batch.began is None:
            batch.began = now
        late = now - batch.began >= self._patience
        callees: dict[Key, bool] = {}
        callers: set[str] | None = None
        for place, mode in ways:
            if mode is TlsMode.OFF:
                if place.workload not in callees:
                    waits = self._waits(batch, place.workload)
                    callees[place.workload] = batch.settled(
                        place.workload, waits=waits, now=now, settle=self._settle
                    )
                if callees[place.workload]:
                    yield place
                continue
            if callers is None:
                callers = self._behind(batch, ENDPOINT, self._streams.streams())
                if late and callers:
                    log.warning("strict before all callers have heard of it", lagging=sorted(callers)[:20])
            settle = self._settle + self._silence
            if late or batch.settled(None, waits=bool(callers), now=now, settle=settle):
                yield place

    def _waits(self, batch: _Batch, workload: Key) -> bool:
        """Whether the sidecar of `workload` has not acknowledged its listeners yet; one that is not connected is not waited for."""
        return any(
            self._behind(batch, LISTENER, self._streams.streams_of(client)) for client in client_ids(workload)
        )

    @staticmethod
    def _behind(batch: _Batch, kind: str, streams: Iterable[Stream]) -> set[str]:
        """The clients of `streams` that have not acknowledged all of `kind` at some time since `batch` began."""
        behind = set[str]()
        for stream in streams:
            heard = (kind, stream.client)
            if heard in batch.heard:
                continue
            if stream.in_sync(kind):
                batch.heard.add(heard)
            else:
                behind.add(stream.client)
        return {client for client in behind if (kind, client) not in batch.heard}
