"""A structlog logger that keeps what is logged."""

from __future__ import annotations

import asyncio
import logging

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger


class Recorded:
    """What was logged: (level, event, fields)."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, EventDict]] = []
        self._changed = asyncio.Event()

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        self.entries.append((level, str(event["event"]), event))
        self._changed.set()
        raise structlog.DropEvent

    def logger(self) -> FilteringBoundLogger:
        wrapper = structlog.make_filtering_bound_logger(logging.DEBUG)
        logger: FilteringBoundLogger = structlog.wrap_logger(None, processors=[self], wrapper_class=wrapper)
        return logger

    def events(self) -> list[str]:
        return [f"{level}: {event}" for level, event, _ in self.entries]

    async def changed(self) -> None:
        """Returns when something was logged since the last call."""
        await self._changed.wait()
        self._changed.clear()

    async def until(self, event: str, times: int = 1) -> None:
        """Returns when `event` (`<level>: <text>`) has been logged so often."""
        while self.events().count(event) < times:
            await self.changed()
