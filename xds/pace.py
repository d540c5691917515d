"""Which streams go first when a change goes to many: clusters and endpoints before what leads to them, over all streams.

What a proxy is told of routes is of no use before the clusters are there, and one event loop writes to all proxies: so while
clusters and endpoints are under way anywhere, streams that have only listeners, scopes and routes left to send let them
pass. The sum of the work is the same; the last proxy has its endpoints sooner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CALM = 0.004
"""Seconds without a cluster or an endpoint sent or answered, after which the others go on."""
LONGEST = 0.25
"""Seconds that they wait at most: endpoints that change without end don't keep routes from anyone."""


class Pace:
    """Shared by the streams of a server. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._last = float("-inf")
        self._waiting: dict[Callable[[], None], None] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def first_matters(self) -> None:
        """A cluster or an endpoint was sent, acknowledged or asked for."""
        now = self._clock()
        if now - self._last >= CALM:
            self._began = now
        self._last = now

    def hurried(self) -> bool:
        """Whether what leads to clusters is to wait."""
        now = self._clock()
        return now - self._last < CALM and now - self._began < LONGEST

    def later(self, wake: Callable[[], None]) -> None:
        """Call `wake` when nothing is under way any more."""
        self._waiting[wake] = None
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(CALM, self._look)

    def forget(self, wake: Callable[[], None]) -> None:
        self._waiting.pop(wake, None)

    def _look(self) -> None:
        self._alarm = None
        if self.hurried():
            self._alarm = asyncio.get_running_loop().call_later(CALM, self._look)
            return
        waiting, self._waiting = self._waiting, {}
        for wake in waiting:
            wake()
