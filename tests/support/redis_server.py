"""A real Redis on a free port, in a folder of its own, that can be frozen, killed and started again."""

from __future__ import annotations

import contextlib
import functools
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from tests.support import processes
from tests.support.binaries import ROOT
from tests.support.ports import free_port


@functools.cache
def binary() -> str:
    script = ROOT / "scripts" / "install" / "redis.sh"
    ran = subprocess.run([str(script)], check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.strip().splitlines()[-1]


class RedisServer:
    """`start()` returns once it answers; it may follow `kill()`, on the same port, then empty."""

    def __init__(self, folder: Path, *, password: str = "") -> None:
        self._folder = folder
        self._password = password
        self.port = free_port()
        self._process: processes.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def client(self) -> redis.asyncio.Redis:
        """For a test that looks inside; to be closed."""
        return redis.asyncio.Redis.from_url(self.url, protocol=2)

    async def start(self) -> None:
        command = [
            *(binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "no"),
            *(("--requirepass", self._password) if self._password else ()),
        ]
        self._process = await processes.start("redis", self._folder, *command)
        await processes.eventually(self._answers, "Redis answers", self._process)

    async def _answers(self) -> bool:
        async with self.client() as client:
            try:
                return bool(await client.ping())
            except RedisError as error:
                raise AssertionError(str(error)) from error

    def freeze(self) -> None:
        """SIGSTOP: the kernel goes on accepting connections and bytes, and nobody answers."""
        self._running().process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running().process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL, which ends a frozen one too."""
        await self._running().kill()

    def _running(self) -> processes.Process:
        assert self._process is not None, "start() comes first"
        return self._process


@contextlib.asynccontextmanager
async def redis_server(folder: Path, *, password: str = "") -> AsyncIterator[RedisServer]:
    server = RedisServer(folder, password=password)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
