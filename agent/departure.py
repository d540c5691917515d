"""Leaving the mesh before the end: whoever ends a pod asks for it, and waits, while the application still serves.

The protocol is `agent.leave`; a proxy that leaves does so once, whoever asks first, and has left until it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

Leave = Callable[[], AbstractAsyncContextManager[None]]
"""See `agent.supervise.Leave`."""


class Departure:
    """Use it from one event loop."""

    def __init__(self) -> None:
        self._wanted = asyncio.Event()
        self._heard = asyncio.Event()
        self._over = asyncio.Event()
        self._able = False

    async def run(self, leave: Leave) -> None:
        """Leave, once that is asked for, until the context of `leaving` is over. Run it as soon as callers may know of this proxy."""
        self._able = True
        await self._wanted.wait()
        async with leave():
            self._heard.set()
            await self._over.wait()

    async def leave(self) -> None:
        """Return when callers have heard that this proxy ends, or cannot be told."""
        self._wanted.set()
        if self._able:
            await self._heard.wait()

    async def left(self, patience: float) -> bool:
        """As `leave`, of somebody who does not decide it: False if nobody has asked for it within `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._wanted.wait()
        except TimeoutError:
            return False
        await self.leave()
        return True

    @contextlib.asynccontextmanager
    async def leaving(self) -> AsyncIterator[None]:
        """A `Leave`: begins when callers have heard; the proxy ends within it."""
        await self.leave()
        try:
            yield
        finally:
            self._over.set()
