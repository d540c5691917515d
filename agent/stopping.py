"""How the agent is told to end: once to drain first, twice to stop at once; and waiting for whichever comes first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager


class Stopping:
    """`drain` is set by the first request to stop, `now` by the second."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()

    def request(self) -> None:
        if self.drain.is_set():
            self.now.set()
        self.drain.set()


@contextmanager
def by_signals(stopping: Stopping) -> Iterator[None]:
    """SIGTERM and SIGINT are requests to stop, as long as the context lasts. For the main thread's event loop."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stopping.request)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def first(*awaited: Awaitable[object]) -> object:
    """The result, or the exception, of the one that is done first; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
