"""The tasks of the program, which have one owner and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self


class Tasks:
    """The long-lived tasks. One that breaks ends the program: a supervisor restarts what may break (see `discovery.supervisor`)."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._owner = asyncio.current_task()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until the block ends."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and self._owner is not None:
            self._owner.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each
