"""Which objects of the cluster all proxies have acknowledged: each change is waited for, stream by stream, as revisions of a store are.

Of the proxies that this replica serves: another replica's are waited for there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from meshwright.acknowledged import Publishing
from store.kubernetes_held import Held
from store.stored import Name

EVERY: Final = 0.05
"""Seconds between two looks at those who are waited for, at least."""
SHARE: Final = 10
"""They are looked at again after this many times as long as a look took."""


class Stream(Protocol):
    @property
    def client(self) -> str: ...
    def heard(self, since: float) -> bool: ...


@dataclass(slots=True, eq=False)
class _Change:
    """Objects that came together, less those that have changed again since. `published_at` is None until all of it is published; `waiting`:
    streams that have not answered since.
    """

    names: set[Name]
    applied_at: float
    published_at: float | None = None
    waiting: frozenset[Stream] = frozenset()


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
        self._open: dict[_Change, None] = {}
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
                self._superseded(name)
            elif self._generations.get(name) != (found.uid, found.generation):
                self._generations[name] = (found.uid, found.generation)
                changed.add(name)
        if changed:
            for name in changed:
                self._superseded(name)
            change = _Change(changed, self._clock())
            self._last.update(dict.fromkeys(changed, change))
            self._open[change] = None
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

    @property
    def kept(self) -> int:
        """Changes that are not acknowledged yet: never more than there are objects."""
        return len(self._open)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            fresh = [each for each in self._open if each.published_at is None]
            await self._pipeline.settled()
            now = self._clock()
            behind = frozenset(each for each in self._streams() if not each.heard(now))
            for change in fresh:
                change.published_at, change.waiting = now, behind
            while not self._woken.is_set():
                began = self._clock()
                if not self._look():
                    break
                pause = max(EVERY, SHARE * (self._clock() - began))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), pause)

    def _look(self) -> bool:
        """Take off those who have answered or gone; whether some changes that are published still wait."""
        here = frozenset(self._streams())
        left: dict[tuple[float, frozenset[Stream]], frozenset[Stream]] = {}
        waits = False
        for change in tuple(self._open):
            since, before = change.published_at, change.waiting
            if since is None:
                continue
            # What was published together waits for the same streams: they are asked once.
            still = left.get((since, before))
            if still is None:
                still = frozenset(each for each in before & here if not each.heard(since))
                still = left[since, before] = before if len(still) == len(before) else still
            self.moves += still is not before
            change.waiting = still
            if still:
                waits = True
            else:
                self._done(change)
        return waits

    def _superseded(self, name: Name) -> None:
        """The object has changed again, or is gone: its change before is waited for no more, and kept no longer than others of it are."""
        before = self._last.pop(name, None)
        if before is not None:
            before.names.discard(name)
            if not before.names:
                self._open.pop(before, None)

    def _done(self, change: _Change) -> None:
        self.moves += 1
        self._open.pop(change, None)
        for name in change.names:
            if self._last.get(name) is change:
                del self._last[name]
