"""What was received, and how much of it is published, by numbers: so that one can wait for what is there by now, though more keeps coming."""

from __future__ import annotations

import asyncio
from collections import deque


class Numbered:
    """Use it from one event loop."""

    def __init__(self) -> None:
        self._received = 0
        self._published = 0
        # In the order of their numbers, for these only grow.
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def received(self) -> int:
        """The number of what was received now."""
        self._received += 1
        return self._received

    def published(self, before: float) -> None:
        """All is published that has a number below `before`, which is infinite where nothing is outstanding."""
        self._published = int(min(before - 1, self._received))
        while self._waiting and self._waiting[0][0] <= self._published:
            _, waits = self._waiting.popleft()
            if not waits.done():  # who waited may have been cancelled
                waits.set_result(None)

    async def settled(self) -> None:
        """Return when all is published that has a number by now."""
        if self._received > self._published:
            waits = asyncio.get_running_loop().create_future()
            self._waiting.append((self._received, waits))
            await waits
