"""Processes that tests start: each ends with its test, by its own id, and its log is shown when something fails."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 45.0
"""Seconds that a condition gets before the test fails: long, because CI machines are slow, and never slept through."""


class Process:
    """A running program with a log file."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.returncode is None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self, lines: int = 25) -> str:
        return f"--- end of {self.log.name}\n" + "\n".join(self.text().splitlines()[-lines:])

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.running():
            self.process.kill()
            await self.process.wait()

    async def stop(self, patience: float = 20.0) -> int:
        """SIGTERM; SIGKILL if it takes longer than `patience` seconds. Returns the exit code."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), patience)
            except TimeoutError:
                await self.kill()
        assert self.process.returncode is not None
        return self.process.returncode


async def start(
    name: str, folder: Path, *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Process:
    """Start `command`; its output is appended to `<folder>/<name>.log`."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd
        )
    return Process(name, log, process)


@contextlib.asynccontextmanager
async def running(
    name: str, folder: Path, *command: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    process = await start(name, folder, *command, env=env)
    try:
        yield process
    finally:
        await process.stop()


def meshwright(*arguments: str) -> tuple[str, ...]:
    """The command line that runs ours with the interpreter of the tests."""
    return (sys.executable, "-m", "meshwright", *arguments)


async def eventually(
    question: Callable[[], Awaitable[T | None]],
    what: str,
    *processes: Process,
    patience: float = PATIENCE,
    every: float = 0.02,
) -> T:
    """Ask until the answer is truthy and return it; fail with `what` and the ends of the logs after `patience` seconds.

    An AssertionError or OSError of the question counts as "not yet".
    """
    deadline = time.monotonic() + patience
    last: object = None
    while True:
        try:
            answer = await question()
            if answer:
                return answer
            last = answer
        except (AssertionError, OSError) as error:
            last = error
        for process in processes:
            if not process.running():
                raise AssertionError(f"{process.name} ended while waiting for: {what}\n{process.tail()}")
        if time.monotonic() > deadline:
            logs = "\n".join(process.tail() for process in processes)
            raise AssertionError(f"not within {patience:.0f} s: {what} (last: {last!r})\n{logs}")
        await asyncio.sleep(every)
