"""Which objects of the cluster all proxies have acknowledged: each change is waited for, stream by stream, as revisions of a store are.

Of the proxies that this replica serves: another replica's are waited for there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from meshwright.acknowledged import Publishing
from store.kubernetes_held import Held
from store.stored import Name

EVERY: Final = 0.05
"""Seconds between two looks at those who are waited for."""


class Stream(Protocol):
    @property
    def client(self) -> str: ...
    def heard(self, since: float) -> bool: ...


@dataclass(slots=True, eq=False)
class _Change:
    """Objects that came together. `published_at` is None until all of it is published; `waiting`: streams that have not answered since."""

    names: frozenset[Name]
    applied_at: float
    published_at: float | None = None
    waiting: set[Stream] = field(default_factory=set)


class Programming:
    """`clock` is that of the streams, in seconds."""

    def __init__(
        self, pipeline: Publishing, streams: Callable[[], Iterable[Stream]], clock: Callable[[], float]
    ) -> None:
        self._pipeline = pipeline
        self._streams = streams
        self._clock = clock
        self._generations: dict[Name, tuple[str, int]] = {}
        self._last: dict[Name, _Change] = {}
        self._open: list[_Change] = []
        self._woken = asyncio.Event()
        self.moves = 0
        """Another number when somebody has answered."""

    def applied(self, names: Iterable[Name], held: Held) -> None:
        """These objects of `held` were handed to the pipeline. Of those with another status alone nothing is waited for."""
        changed = set[Name]()
        for name in names:
            found = held.objects.get(name)
            if found is None:
                self._generations.pop(name, None)
                self._last.pop(name, None)
            elif self._generations.get(name) != (found.uid, found.generation):
                self._generations[name] = (found.uid, found.generation)
                changed.add(name)
        if changed:
            change = _Change(frozenset(changed), self._clock())
            self._last.update(dict.fromkeys(changed, change))
            self._open.append(change)
            self._woken.set()

    def behind(self, name: Name) -> tuple[str, ...] | None:
        """The clients that have not answered since the object `name` changed last, as far as is known; None: all have."""
        change = self._last.get(name)
        if change is None:
            return None
        return tuple(sorted({each.client for each in change.waiting}))

    def waited(self, name: Name) -> float:
        """For how many seconds answers are waited for."""
        change = self._last.get(name)
        return 0.0 if change is None else self._clock() - change.applied_at

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            fresh = [each for each in self._open if each.published_at is None]
            await self._pipeline.settled()
            now = self._clock()
            behind = {each for each in self._streams() if not each.heard(now)}
            for change in fresh:
                change.published_at, change.waiting = now, set(behind)
            while self._look() and not self._woken.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), EVERY)

    def _look(self) -> bool:
        """Take off those who have answered or gone; whether some changes that are published still wait."""
        here = set(self._streams())
        still = []
        for change in self._open:
            since = change.published_at
            if since is not None:
                waiting = {each for each in change.waiting & here if not each.heard(since)}
                self.moves += len(waiting) < len(change.waiting)
                change.waiting = waiting
                if not waiting:
                    self._done(change)
                    continue
            still.append(change)
        self._open = still
        return any(each.published_at is not None for each in still)

    def _done(self, change: _Change) -> None:
        self.moves += 1
        for name in change.names:
            if self._last.get(name) is change:
                del self._last[name]
