"""How the agent is told to end: once to drain first, twice to stop at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
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
