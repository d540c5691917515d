"""The tasks of the program, which have one owner and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

import structlog

from discovery.backoff import Backoff

STEADY: Final = 60.0
"""Seconds after which one that was started again is taken to work."""

log = structlog.get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """The long-lived tasks. One that breaks ends the program, unless it is one that may be started again.

    `random` is drawn from for the pauses before; `broke` is told the name of each that is started again.
    """

    def __init__(self, random: Callable[[], float], broke: Callable[[str], None]) -> None:
        self._random = random
        self._broke = broke
        self._tasks: list[asyncio.Task[None]] = []
        self._owner = asyncio.current_task()

    def start(self, name: str, work: Work, *, restart: bool = False) -> None:
        """Run what `work` makes until the block ends. With `restart` it is made anew where it breaks, after a pause that grows."""
        running = self._again(name, work) if restart else work()
        task = asyncio.create_task(running, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def _again(self, name: str, work: Work) -> None:
        backoff, clock = Backoff(self._random), asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                return await work()
            except Exception:
                log.exception("a task broke, and is started again", task=name)
                self._broke(name)
            if clock() - began >= STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.next())

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
