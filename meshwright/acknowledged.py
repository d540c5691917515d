"""Who has acknowledged a revision of the store: told of each that is applied, it watches the streams until all have answered.

A proxy has acknowledged a revision when it has answered for everything that was published until then, whatever has come since. One that
has gone needs nothing: it is given all of it when it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from api.shapes.acknowledgements import Acknowledgements, Behind, Refusing
from meshwright.metrics import Metrics
from meshwright.quarantine.book import Told
from meshwright.stores import STORE
from xds.status import ClientStatus, TypeStatus
from xds.types import short_name

EVERY = 0.02
"""Seconds between two looks at those who are waited for; more if a look takes long."""

KEPT = 100
"""Revisions of which it is remembered how they were acknowledged. Of an older one, the next that is remembered tells."""

log = structlog.get_logger(__name__)


class Stream(Protocol):
    @property
    def client(self) -> str: ...
    @property
    def holds_back(self) -> bool: ...
    def heard(self, since: float, type_url: str | None = None) -> bool: ...
    def status(self, now: float) -> ClientStatus: ...


class Streams(Protocol):
    """The streams that are open."""

    def streams(self) -> Iterable[Stream]: ...


class Publishing(Protocol):
    async def settled(self) -> None:
        """Return when everything received so far is published."""


@dataclass(slots=True, eq=False)
class _Revision:
    """One that is applied. `published_at`: when all of it was, None until then; `waiting`: the streams that have not answered since."""

    number: int
    applied_at: float
    published_at: float | None = None
    waiting: set[Stream] = field(default_factory=set)
    took: float | None = None


class Acknowledged:
    """Use it from one event loop. `clock` is that of the streams, in seconds."""

    def __init__(
        self,
        pipeline: Publishing,
        streams: Streams,
        clock: Callable[[], float],
        metrics: Metrics,
        quarantined: Callable[[], Iterable[Told]] = tuple,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`quarantined`: documents that are set aside. `wall` tells seconds since 1970."""
        self._pipeline = pipeline
        self._streams = streams
        self._clock = clock
        self._metrics = metrics
        self._quarantined = quarantined
        self._wall = wall
        self._known: dict[int, _Revision] = {}
        self._applied = asyncio.Event()
        self._moved = asyncio.Condition()
        self._moves = self._told = 0

    def applied(self, number: int) -> None:
        """Everything that revision `number` says was handed to the pipeline."""
        self._known[number] = _Revision(number, self._clock())
        while len(self._known) > KEPT:
            del self._known[min(self._known)]
        self._metrics.revision_applied.set(number)
        self._applied.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._applied.wait()
            self._applied.clear()
            # One that is applied meanwhile is waited for anew.
            fresh = [each for each in self._known.values() if each.published_at is None]
            await self._pipeline.settled()
            self._begin(fresh)
            while True:
                began = self._clock()
                open_ones = self._look(began)
                await self._tell()
                if not open_ones or self._applied.is_set():
                    break
                pause = max(EVERY, 10 * (self._clock() - began))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._applied.wait(), pause)

    async def wait(self, number: int, seconds: float) -> Acknowledgements:
        """How far revision `number` is, when everybody has answered or `seconds` are over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: self._is_over(number))
        return self.report(number)

    def report(self, number: int) -> Acknowledgements:
        """How far it is now."""
        streams = list(self._streams.streams())
        revision = self._covering(number)
        if revision is None or revision.published_at is None:
            return self._made(number, "pending", streams)
        self._look(self._clock())
        behind = tuple(sorted(self._behind(revision), key=lambda each: each.proxy))
        refused = (*self._refused(streams), *self._set_aside(number, streams))
        state = "waiting" if behind else "refused" if refused else "acknowledged"
        return self._made(number, state, streams, behind, refused, revision.took)

    def moved(self) -> tuple[int, int]:
        """Another value than before when somebody has answered, a revision was published, or the number of streams is another."""
        return self._moves, sum(1 for _ in self._streams.streams())

    def newest(self) -> int:
        """The newest revision that is published; 0: none."""
        return max((each.number for each in self._known.values() if each.published_at is not None), default=0)

    def _made(
        self,
        number: int,
        state: str,
        streams: list[Stream],
        behind: tuple[Behind, ...] = (),
        refused: tuple[Refusing, ...] = (),
        took: float | None = None,
    ) -> Acknowledgements:
        return Acknowledgements.model_validate(
            {
                "revision": number,
                "state": state,
                "proxies": len({each.client for each in streams}),
                "behind": behind,
                "refused": refused,
                "quarantined": tuple(aside(self._quarantined())),
                "took": None if took is None else round(took, 4),
            }
        )

    def _covering(self, number: int) -> _Revision | None:
        """Revision `number`, or the next one that is known."""
        return min(
            (each for each in self._known.values() if each.number >= number),
            key=lambda each: each.number,
            default=None,
        )

    def _is_over(self, number: int) -> bool:
        """Whether everybody has answered. Asked at each move, beside however many streams: a whole report would take long."""
        revision = self._covering(number)
        return revision is not None and revision.took is not None

    def _begin(self, fresh: list[_Revision]) -> None:
        """These are published now: from here on they are waited for."""
        now = self._clock()
        if fresh:
            self._moves += 1
            behind = {each for each in self._streams.streams() if not each.heard(now)}
            for revision in fresh:
                revision.published_at, revision.waiting = now, set(behind)

    def _look(self, now: float) -> bool:
        """Take off those who have answered; whether some have not."""
        here = set(self._streams.streams())
        for revision in self._known.values():
            since = revision.published_at
            if since is None or revision.took is not None:
                continue
            waiting = {each for each in revision.waiting & here if not each.heard(since)}
            if len(waiting) < len(revision.waiting) or not waiting:
                self._moves += 1
            revision.waiting = waiting
            if not revision.waiting:
                revision.took = now - revision.applied_at
                self._metrics.revision_acknowledged.observe(revision.took)
                log.info("revision acknowledged", revision=revision.number, seconds=round(revision.took, 3))
        return any(each.waiting for each in self._known.values())

    async def _tell(self) -> None:
        """Wake those who wait, if there is news."""
        if self._told != self._moves:
            self._told = self._moves
            async with self._moved:
                self._moved.notify_all()

    def _behind(self, revision: _Revision) -> Iterator[Behind]:
        now = self._clock()
        for stream in revision.waiting:
            status = stream.status(now)
            late = [each for each in status.types if not each.in_sync]
            yield Behind(
                proxy=status.id,
                replica="",
                peer=status.peer,
                pending={short_name(each.type_url): each.pending for each in late},
                why=_why(status, late),
            )

    def _refused(self, streams: Iterable[Stream]) -> Iterator[Refusing]:
        now = self._clock()
        refusing = (each.status(now) for each in streams if each.holds_back)
        for status in sorted(refusing, key=lambda each: each.id):
            for each in status.types:
                if each.held_back and each.refusal is not None:
                    yield Refusing(
                        proxy=status.id,
                        replica="",
                        type=short_name(each.type_url),
                        names=each.held_back,
                        message=each.refusal.message,
                        documents=each.refusal.origin,
                        seconds=round(now - each.refusal.at, 3),
                    )

    def _set_aside(self, number: int, streams: Iterable[Stream]) -> Iterator[Refusing]:
        """Who has refused what revision `number` wrote, and is given something else instead by now: it holds nothing back any more."""
        here, written = {each.client for each in streams}, f"{STORE}#{number} "
        for told in self._quarantined():
            if told.active and any(each.startswith(written) for each in told.origin):
                case = told.case
                kind, _, name = case.resource.partition(" ")
                for client in sorted(case.clients & here):
                    yield Refusing(
                        proxy=client,
                        replica="",
                        type=kind,
                        names=(name,),
                        message=case.message,
                        documents=told.origin,
                        seconds=round(max(0.0, self._wall() - case.since), 3),
                    )


def aside(told: Iterable[Told]) -> Iterator[str]:
    """The documents of which an older value, or none, is in force somewhere, each once."""
    names = {each.case.name for each in told if each.active}
    return (f"{kind} {key}" for kind, key in sorted(names))


def _why(status: ClientStatus, late: list[TypeStatus]) -> str:
    if status.waiting:
        return "it waits for its first configuration"
    if any(each.late for each in late):
        return "it was sent a response and does not answer"
    return "its answer is on the way"
