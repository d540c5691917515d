"""One long poll for all that watch the head: Consul allows a client some 200 connections, and writes need some of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from store.backend import Head


class HeadWatch:
    """`poll` returns when the head may have moved since an index (0: at once), with the next index; `read` gives the head.

    It polls as long as somebody watches.
    """

    def __init__(self, poll: Callable[[int], Awaitable[int]], read: Callable[[], Awaitable[Head]]) -> None:
        self._poll = poll
        self._read = read
        self._watchers: set[asyncio.Event] = set()
        self._polling: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    async def heads(self, after: Head) -> AsyncGenerator[Head, None]:
        """See `store.backend.Backend.heads`. Raises what the poll or the reading raises: StoreError, where it was foreseen."""
        moved = asyncio.Event()
        self._watchers.add(moved)
        try:
            while True:
                if self._polling is None or self._polling.done():
                    self._error = None
                    self._polling = asyncio.create_task(self._run(), name="watch the head in Consul")
                moved.clear()
                # Each watcher reads for itself: what another has read may be older than what this one knows.
                head = await self._read()
                if head != after:
                    yield head
                    after = head
                    continue
                await moved.wait()
                if self._error is not None:
                    raise self._error
        finally:
            self._watchers.discard(moved)
            if not self._watchers:
                await self.close()

    async def close(self) -> None:
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling

    async def _run(self) -> None:
        index = 0
        try:
            while True:
                index = await self._poll(index)
                self._wake()
        except Exception as error:  # noqa: BLE001 (the watchers raise it, whatever it is: none waits for ever)
            self._error = error
            self._wake()

    def _wake(self) -> None:
        for each in self._watchers:
            each.set()
