"""Where hits are counted: the protocol, and counters in the memory of one process."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Protocol

from ratelimit.limits import Draw, Tally, counts


class Counters(Protocol):
    """Windows of hits by key. `limits` says when a window opens and what is counted."""

    async def add(self, draws: Sequence[Draw], /) -> list[Tally]:
        """Add the hits of all draws, or of none if a limit among them is used up; a tally for each, in their order.

        It must be one step for all who share the counters, and must end soon, whatever happens to what it asks.
        Raises CountersAway.
        """
        ...


class MemoryCounters:
    """Counters of this process alone: for one control plane, and for those who have no Redis.

    `clock` gives seconds that never go back (`time.monotonic`). Ended windows are dropped. Of more than `most` open
    ones those that end soonest are given up, and their keys begin anew: better a limit too generous than no memory left.
    """

    def __init__(self, clock: Callable[[], float], *, most: int = 100_000) -> None:
        self._clock = clock
        self._most = most
        self._used: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self._soonest: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Open windows."""
        return len(self._used)

    async def add(self, draws: Sequence[Draw], /) -> list[Tally]:
        now = self._clock()
        while self._soonest and self._soonest[0][0] <= now:
            self._drop_soonest()
        counted = counts((draw.limit, self._used.get(draw.key, 0)) for draw in draws)
        tallies = [self._one(draw, now, counted) for draw in draws]
        while len(self._used) > self._most:
            self._drop_soonest()
        return tallies

    def _one(self, draw: Draw, now: float, counted: bool) -> Tally:
        used = self._used.get(draw.key, 0)
        if counted and draw.hits:
            if draw.key not in self._ends:
                self._ends[draw.key] = now + draw.window
                heapq.heappush(self._soonest, (now + draw.window, draw.key))
            self._used[draw.key] = used + draw.hits
        left = self._ends.get(draw.key, now + draw.window) - now
        return Tally(used, min(left, draw.window))  # the difference of two floats may be a little more

    def _drop_soonest(self) -> None:
        _, key = heapq.heappop(self._soonest)
        del self._used[key], self._ends[key]
