"""Keeps Envoy running: restarts it when it ends by itself, drains and stops it when asked to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from structlog.typing import FilteringBoundLogger

from agent.backoff import Backoff
from agent.errors import EnvoyFailed
from agent.leave import nobody_is_told
from agent.stopping import Stopping, first
from ca.rate_limit import Monotonic
from envoy.errors import AdminFailed, EnvoyNotReady

READY_WARNINGS: Final = (5.0, 30.0)
"""Seconds after which it is told that Envoy still waits for its configuration: at first, and from then on."""

Diagnose = Callable[[], Awaitable[str]]
"""Says what may be in the way of Envoy's configuration."""

Leave = Callable[[], AbstractAsyncContextManager[None]]
"""A context that begins when callers have heard that the proxy ends, which it does within it."""


class Sidecar(Protocol):
    """A started Envoy."""

    @property
    def pid(self) -> int: ...

    @property
    def admin_address(self) -> str:
        """Where its admin interface is; empty as long as that is not known."""
        ...

    async def wait(self) -> int:
        """Its exit code, once it has ended; negative is the signal that ended it."""
        ...

    async def wait_ready(self, timeout: float = ...) -> None:  # noqa: ASYNC109 - the signature of EnvoyProcess
        """Returns when it has its configuration. EnvoyNotReady if it has not after `timeout` seconds, or has ended."""
        ...

    async def refused_listeners(self) -> Sequence[str]:
        """A line for each listener that it would not have, with the reason. AdminFailed if it does not answer."""
        ...

    async def drain(self) -> None:
        """Returns when no connection is left, or the drain time is over."""
        ...

    async def stop(self) -> None:
        """End it, if it has not ended. Returns when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class RestartLimit:
    """More than `restarts` unexpected ends `within` so many seconds are not healed by one more."""

    restarts: int = 5
    within: float = 60.0


async def supervise(
    start: Callable[[], Awaitable[Sidecar]],
    stopping: Stopping,
    *,
    log: FilteringBoundLogger,
    backoff: Backoff,
    monotonic: Monotonic,
    diagnose: Diagnose,
    drain_time: float,
    leave: Leave = nobody_is_told,
    limit: RestartLimit = RestartLimit(),
) -> None:
    """Start an Envoy and keep one running until `stopping`; then `leave`, drain it, stop it and return.

    `drain_time`, in seconds, is what Envoy was told, to tell the operator.
    EnvoyFailed if it ends by itself again and again. What `start` raises ends this as well. Cancelling stops Envoy at once.
    """
    ends: deque[float] = deque()
    while not stopping.drain.is_set():
        sidecar = await start()
        try:
            log.info("envoy started", pid=sidecar.pid)
            code = await first(sidecar.wait(), stopping.drain.wait(), _tell_ready(sidecar, log, diagnose))
            if stopping.drain.is_set():
                told = f"draining up to {drain_time:g} s; signal again to stop at once"
                log.info("envoy drains", pid=sidecar.pid, hint=told)
                await first(_end(sidecar, leave), stopping.now.wait(), sidecar.wait())
                return
        finally:
            await sidecar.stop()
            log.info("envoy stopped", pid=sidecar.pid)
        now = monotonic()
        ends.append(now)
        while ends[0] < now - limit.within:
            ends.popleft()
        if len(ends) == 1:
            backoff.reset()
        if len(ends) > limit.restarts:
            raise EnvoyFailed(
                f"envoy ended by itself {len(ends)} times within {limit.within:g} s, at last with code {code}: see its log"
            )
        delay = backoff.next()
        log.error("envoy ended by itself and is started again", code=code, retry_in=round(delay, 1))
        await first(asyncio.sleep(delay), stopping.drain.wait())


async def _end(sidecar: Sidecar, leave: Leave) -> None:
    """Callers hear of it first: one that still meant to use it when it has drained would find nobody."""
    async with leave():
        await sidecar.drain()
        await sidecar.stop()


async def _tell_ready(sidecar: Sidecar, log: FilteringBoundLogger, diagnose: Diagnose) -> NoReturn:
    """Log that Envoy is ready, or what it waits for: a workload that is not discovered yet waits, that is no failure."""
    patience, later = READY_WARNINGS
    while True:
        try:
            await sidecar.wait_ready(patience)
        except EnvoyNotReady as error:
            log.warning("envoy is not ready", reason=str(error).partition("\n")[0], hint=await diagnose())
            patience = later
            await asyncio.sleep(1.0)  # it may have ended: whoever waits for that is told first
        else:
            log.info("envoy is ready", pid=sidecar.pid, admin=_told(sidecar.admin_address))
            await _tell_refused(sidecar, log)
            await asyncio.Event().wait()


def _told(address: str) -> str:
    """A socket's path is told as it is."""
    return address if address.startswith("/") else f"http://{address}"


async def _tell_refused(sidecar: Sidecar, log: FilteringBoundLogger) -> None:
    try:
        refused = await sidecar.refused_listeners()
    except AdminFailed as error:
        log.warning("it is not known whether envoy has all its listeners", reason=str(error))
        return
    for each in refused:
        log.warning(
            "envoy refused a listener",
            listener=each,
            # The control plane gives a refused listener again only when its content changes.
            hint="if its address is in use: end what listens there, perhaps another sidecar of this workload, and start this one "
            "again; or change the workload's ports",
        )
