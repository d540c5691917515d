"""Restarting and stopping, with small real processes in the place of Envoy (which tests/feature/test_proxy.py runs)."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from agent.backoff import Backoff
from agent.errors import EnvoyFailed
from agent.stopping import Stopping, by_signals
from agent.supervise import RestartLimit, supervise
from tests.support.ca_logs import Recorded

DEADLINE = 20


class Shell:
    """A process that lives as long as its script."""

    def __init__(self, process: asyncio.subprocess.Process, drains: asyncio.Event) -> None:
        self._process = process
        self._drains = drains

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def admin_address(self) -> str:
        return "127.0.0.1:1"

    async def wait(self) -> int:
        return await self._process.wait()

    async def wait_ready(self, timeout: float = 0.0) -> None:  # noqa: ASYNC109
        await asyncio.Event().wait()

    async def refused_listeners(self) -> tuple[str, ...]:
        return ()

    async def drain(self) -> None:
        await self._drains.wait()

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Host:
    def __init__(self, script: str, kind: type[Shell] = Shell) -> None:
        self.script = script
        self.kind = kind
        self.started: list[int] = []
        self.drained = asyncio.Event()
        self.log = Recorded()
        self.stopping = Stopping()

    async def start(self) -> Shell:
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", self.script)
        self.started.append(process.pid)
        return self.kind(process, self.drained)

    async def run(self, limit: RestartLimit = RestartLimit()) -> None:  # noqa: B008
        async with asyncio.timeout(DEADLINE):
            await supervise(
                self.start,
                self.stopping,
                log=self.log.logger(),
                backoff=Backoff(lambda: 0.0, first=0.01, maximum=0.01),
                monotonic=asyncio.get_running_loop().time,
                diagnose=self.diagnose,
                drain_time=45,
                limit=limit,
            )

    async def diagnose(self) -> str:
        return "nothing is in the way"

    def gone(self) -> bool:
        for pid in self.started:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue
            return False
        return True


class ReadyShell(Shell):
    """One that is ready at once, and would not have two of its listeners."""

    async def wait_ready(self, timeout: float = 0.0) -> None:  # noqa: ASYNC109
        return

    async def refused_listeners(self) -> tuple[str, ...]:
        return ("inbound/15101: cannot bind", "outbound: cannot bind")


async def test_what_envoy_refused_is_told_when_it_is_ready() -> None:
    host = Host("exec sleep 60", ReadyShell)
    task = asyncio.create_task(host.run())
    async with asyncio.timeout(DEADLINE):
        await host.log.until("warning: envoy refused a listener", times=2)
        ready = host.log.entries[1]
        assert (ready[1], ready[2]["admin"]) == ("envoy is ready", "http://127.0.0.1:1")
        told = [fields["listener"] for _, event, fields in host.log.entries if "refused" in event]
        assert told == ["inbound/15101: cannot bind", "outbound: cannot bind"]
        host.drained.set()
        host.stopping.request()
        await task


async def test_what_ends_by_itself_is_started_again() -> None:
    host = Host("exec sleep 60")
    task = asyncio.create_task(host.run())
    async with asyncio.timeout(DEADLINE):
        await host.log.until("info: envoy started")
        os.kill(host.started[0], signal.SIGKILL)
        await host.log.until("info: envoy started", times=2)
    told = next(fields for _, event, fields in host.log.entries if "ended by itself" in event)
    assert told["code"] == -signal.SIGKILL
    host.drained.set()
    host.stopping.request()
    await task
    assert host.gone()


async def test_what_ends_again_and_again_is_given_up() -> None:
    host = Host("exit 3")
    with pytest.raises(EnvoyFailed, match=r"4 times within 60 s, at last with code 3"):
        await host.run(RestartLimit(restarts=3))
    assert len(host.started) == 4
    assert host.gone()


async def test_a_stop_drains_first() -> None:
    host = Host("exec sleep 60")
    task = asyncio.create_task(host.run())
    async with asyncio.timeout(DEADLINE):
        await host.log.until("info: envoy started")
        host.stopping.request()
        await host.log.until("info: envoy drains")
        assert not host.gone()
        host.drained.set()
        await task
    assert host.gone()
    assert host.log.events() == ["info: envoy started", "info: envoy drains", "info: envoy stopped"]
    assert host.log.entries[1][2]["hint"] == "draining up to 45 s; signal again to stop at once"


async def test_a_second_stop_does_not_wait_for_the_drain() -> None:
    host = Host("exec sleep 60")
    task = asyncio.create_task(host.run())
    async with asyncio.timeout(DEADLINE):
        await host.log.until("info: envoy started")
        host.stopping.request()
        await host.log.until("info: envoy drains")
        host.stopping.request()
        await task
    assert host.gone()


async def test_cancelling_leaves_nothing_behind() -> None:
    host = Host("exec sleep 60")
    task = asyncio.create_task(host.run())
    async with asyncio.timeout(DEADLINE):
        await host.log.until("info: envoy started")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert host.gone()


async def test_signals_are_requests_to_stop() -> None:
    stopping = Stopping()
    with by_signals(stopping):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            await stopping.drain.wait()
            assert not stopping.now.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            await stopping.now.wait()
