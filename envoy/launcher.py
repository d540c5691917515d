"""Starts real Envoys, watches them come up, drains and stops them; and has them validate a configuration.

https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/cli
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from envoy import tether
from envoy.admin import AdminClient
from envoy.bootstrap import DRAIN_TIME
from envoy.environment import of_envoy
from envoy.errors import AdminFailed, EnvoyNotFound, EnvoyNotReady, InvalidConfiguration
from envoy.install import VERSION, find_envoy, install, installed, require_envoy

__all__ = [
    "VERSION",
    "EnvoyProcess",
    "LaunchOptions",
    "find_envoy",
    "install",
    "installed",
    "require_envoy",
    "validate",
]

POLL = 0.05
"""Seconds between two looks at what has no event to wait for."""

REFUSED = r"^listener_manager\.lds\.update_rejected$"
"""Counts the updates of listeners of which Envoy refused a part."""

STILL = 4
"""Looks, one after the other, that find nobody: between two calls of one caller there is no connection either once each is ended by its answer."""

BUSY = r"^(http|tcp)\.inbound.*\.downstream_cx_active$|^http\.outbound.*\.downstream_rq_active$"
"""What draining waits for: callers' connections, and requests of the application that have no answer yet."""


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How to start an Envoy. `log` None leaves its output to this process's own.

    `drain_time` is in seconds; `concurrency`, the number of worker threads, is by default that of the CPUs. Hot restart is
    off, so that any number of Envoys run on one host. `environment` are names of variables that Envoy sees besides what it needs.
    """

    binary: Path
    bootstrap: Path
    log: Path | None = None
    log_level: str = "warning"
    drain_time: int = DRAIN_TIME
    concurrency: int | None = None
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    @property
    def admin_address_file(self) -> Path:
        """Where Envoy writes the address of its admin interface, of which the bootstrap may leave the port open."""
        return self.bootstrap.with_suffix(".admin-address")

    def command(self) -> list[str]:
        command = [str(self.binary), "--config-path", str(self.bootstrap), "--disable-hot-restart"]
        command += ["--drain-time-s", str(self.drain_time), "--log-level", self.log_level]
        command += ["--admin-address-path", str(self.admin_address_file)]
        # An access log is read while things go wrong: Envoy's own default lets it lag by ten seconds.
        command += ["--file-flush-interval-msec", "1000"]
        if self.concurrency is not None:
            command += ["--concurrency", str(self.concurrency)]
        return [*command, *self.arguments]


class EnvoyProcess:
    """One running Envoy, made by `start`. Whoever started it stops it."""

    def __init__(self, options: LaunchOptions, process: asyncio.subprocess.Process) -> None:
        self._options = options
        self._process = process

    @classmethod
    async def start(cls, options: LaunchOptions) -> Self:
        """Start Envoy; EnvoyNotFound if there is no such program. Returns at once: see `wait_ready`.

        On Linux it ends with this process, however that ends (see `tether`). Call it on a thread that lasts as long as
        Envoy shall, as an event loop's does.
        """
        command = _tethered(options.command())
        options.admin_address_file.unlink(missing_ok=True)
        with contextlib.ExitStack() as opened:
            output = opened.enter_context(options.log.open("ab")) if options.log else None
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=of_envoy(os.environ, options.environment),
                    # A group of its own: Ctrl-C in a terminal is for its owner, who drains it first.
                    process_group=0,
                )
            except OSError as error:
                raise EnvoyNotFound(f"{options.binary} cannot be started: {error}") from error
        return cls(options, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.returncode

    @property
    def admin(self) -> AdminClient:
        """Its admin interface; AdminFailed as long as Envoy has not said where that is."""
        try:
            admin = AdminClient.at(self._options.admin_address_file.read_text().strip())
        except OSError as error:
            raise AdminFailed(f"envoy (pid {self.pid}) has not opened its admin interface") from error
        if admin is None:
            raise AdminFailed(f"envoy (pid {self.pid}) has not opened its admin interface")
        return admin

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await self._process.wait()

    async def wait_ready(self, timeout: float = 60.0) -> None:  # noqa: ASYNC109 (the error says what was waited for)
        """Return once Envoy is LIVE. EnvoyNotReady, with the end of its log, if it ends or is not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        state = "it has not opened its admin interface"
        while self.returncode is None:
            try:
                admin = self.admin
                if await admin.ready():
                    return
                state = f"it is {await admin.state()}: does the control plane answer, and know this proxy?"
            except AdminFailed:
                pass  # not yet: the deadline decides
            if time.monotonic() >= deadline:
                raise EnvoyNotReady(
                    f"envoy (pid {self.pid}) is not ready after {timeout:g} s: {state}\n{self.last_log()}"
                )
            await asyncio.sleep(POLL)
        raise EnvoyNotReady(f"envoy ended with code {self.returncode} before it was ready\n{self.last_log()}")

    @property
    def admin_address(self) -> str:
        """Where its admin interface is, for people; empty as long as Envoy has not said it."""
        try:
            return self._options.admin_address_file.read_text().strip()
        except OSError:
            return ""

    async def refused_listeners(self) -> tuple[str, ...]:
        """A line for each listener that Envoy would not have since it started, with its reason; mostly a port that is taken.

        Envoy keeps the reasons of the last update alone: of earlier ones there is one line that says where to look.
        AdminFailed if it does not answer.
        """
        admin = self.admin
        if not any((await admin.stats(REFUSED)).values()):
            return ()
        dump = await admin.config_dump(resource="dynamic_listeners")
        reasons = {
            f"{name}: {details}"
            for name, details in (_refusal(each) for each in dump.get("configs", ()))
            if name and details
        }
        return tuple(sorted(reasons)) or ("a listener: see Envoy's log and `meshwright status`",)

    async def drain(self) -> None:
        """Ask all connections to end; return when callers' are gone and no request is open, or the drain time is over.

        Listeners go on accepting meanwhile: a caller that has not heard yet is answered. An Envoy that has ended, or does
        not answer, has nothing to drain.
        """
        deadline = time.monotonic() + self._options.drain_time
        try:
            admin = self.admin
            await admin.healthcheck_fail()
            await admin.drain_listeners(graceful=True)
            still = 0
            while self.returncode is None and time.monotonic() < deadline:
                still = 0 if any((await admin.stats(BUSY)).values()) else still + 1
                if still == STILL:
                    return
                await asyncio.sleep(POLL)
        except AdminFailed:
            return

    async def stop(self, grace: float = 5.0) -> None:
        """End it, by force after `grace` seconds, and return when it is gone."""
        if self.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            self._process.terminate()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def last_log(self, lines: int = 20) -> str:
        """The end of its log, for errors."""
        if self._options.log is None:
            return "its log is in this process's own output"
        text = self._options.log.read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _tethered(command: list[str]) -> list[str]:
    """`command`, to be run so that it ends with this process; EnvoyNotFound if it is no program at all."""
    if sys.platform != "linux":
        return command
    found = shutil.which(command[0])
    if found is None:
        raise EnvoyNotFound(
            f"{command[0]} cannot be started: there is no such program, or it is not executable"
        )
    # Python's own options: no environment variable and no package of the user's takes part.
    python = (sys.executable, "-I", "-S", tether.__file__)
    return [*python, str(os.getpid()), str(Path(found).absolute()), *command[1:]]


def _refusal(listener: dict[str, Any]) -> tuple[str, str]:
    """Name and reason, empty if there is none, of an entry of `dynamic_listeners` in a config dump."""
    state = listener.get("error_state", {})
    failed = state.get("failed_configuration", {})
    return str(listener.get("name") or failed.get("name", "")), str(state.get("details", ""))


async def validate(binary: Path, bootstrap: Path, *, unknown_fields: bool = False) -> None:
    """Have Envoy check a bootstrap with all that it holds; InvalidConfiguration, with Envoy's own words, if it refuses.

    With `unknown_fields` it passes over fields that it does not know, as it does in what comes by xDS. Takes 0.1 to 0.2 s for 100 services. What comes by xDS is not looked at: see `validate.assemble`.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(binary), "--mode", "validate", "--config-path", str(bootstrap), "--log-level", "error"),
        *(("--allow-unknown-static-fields",) if unknown_fields else ()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=of_envoy(os.environ),
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = output.decode(errors="replace").strip()
        raise InvalidConfiguration(f"envoy refuses {bootstrap}:\n{text}")
