"""The agent: join, start Envoy, keep both the certificate and Envoy going, and end in peace."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog
from structlog.typing import FilteringBoundLogger

from agent import sidecar
from agent.attendant import attending, taking_leave
from agent.backoff import Backoff
from agent.departure import Departure
from agent.errors import AgentError, DirectoryInUse
from agent.identity_store import IdentityStore
from agent.join import ControlPlane
from agent.key_server import KeyServer
from agent.leave import PATIENCE, left, nobody_is_told
from agent.options import ProxyOptions
from agent.probe import diagnose
from agent.renew import CertificateKeeper, Membership, served_to_nobody
from agent.sockets import LEAVE, socket_path
from agent.stopping import Stopping, by_signals
from agent.supervise import Leave, Sidecar, supervise
from agent.trust import TrustWatch
from ca import files
from ca.rate_limit import Monotonic
from ca.times import Chance, Clock, system_clock
from envoy.errors import EnvoyError

FAILED = 1
"""The exit code where no AgentError has a better one."""


async def run(
    options: ProxyOptions,
    *,
    stopping: Stopping | None = None,
    clock: Clock = system_clock,
    monotonic: Monotonic = time.monotonic,
    chance: Chance = random.random,
    log: FilteringBoundLogger | None = None,
) -> int:
    """Be the sidecar of `options.workload` until SIGTERM, SIGINT or `stopping`; the exit code.

    Without `stopping` it takes the signals itself, which needs the main thread. 0 after a requested stop; an AgentError's
    `exit_code` after one of those, which is logged with its way out.
    """
    told: FilteringBoundLogger = log if log is not None else structlog.get_logger("agent")
    told = told.bind(workload=str(options.workload))
    code = 0
    with contextlib.ExitStack() as stack:
        if stopping is None:
            stopping = Stopping()
            stack.enter_context(by_signals(stopping))
        try:
            files.own_directory(options.directory)
            stack.enter_context(_alone(options.directory))
            agent = _Agent(options, stopping, clock=clock, monotonic=monotonic, chance=chance, log=told)
            await agent.run()
        except* (AgentError, EnvoyError, OSError) as group:
            code = _end(told, group)
    return code


class _Agent:
    def __init__(
        self,
        options: ProxyOptions,
        stopping: Stopping,
        *,
        clock: Clock,
        monotonic: Monotonic,
        chance: Chance,
        log: FilteringBoundLogger,
    ) -> None:
        self._options = options
        self._stopping = stopping
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._log = log
        self._writing = asyncio.Lock()  # what Envoy is started by
        self._departure = Departure()

    async def run(self) -> None:
        options = self._options
        membership = options.membership()
        await asyncio.to_thread(sidecar.check, options)
        async with contextlib.AsyncExitStack() as stack:
            socket = socket_path(options.directory, options.short_directory, LEAVE)
            await stack.enter_async_context(taking_leave(self._departure, socket))
            if options.agent_port is not None:
                await stack.enter_async_context(
                    attending(
                        self._departure,
                        lambda: sidecar.ready(options),
                        options.app_checks,
                        options.app_address,
                        options.agent_port,
                    )
                )
            await self._run(membership)

    async def _run(self, membership: Membership | None) -> None:
        if membership is None:
            self._log.warning("this proxy is not a member of the mesh: plaintext, no identity")
            await self._supervise(nobody_is_told)
            return
        keys = self._key_server()
        keeper = CertificateKeeper(
            membership,
            IdentityStore(self._options.directory),
            clock=self._clock,
            chance=self._chance,
            log=self._log,
            on_held=served_to_nobody if keys is None else keys.give,
        )
        async with asyncio.TaskGroup() as group:
            obtaining = group.create_task(keeper.obtain())
            ending = group.create_task(self._stopping.drain.wait())
            await asyncio.wait({obtaining, ending}, return_when=asyncio.FIRST_COMPLETED)
            obtaining.cancel()  # nothing to cancel if it is done
            ending.cancel()
        if self._stopping.drain.is_set():
            return
        watch = TrustWatch(
            membership,
            keeper,
            chance=self._chance,
            log=self._log,
            in_use=lambda: self._in_use(keeper, keys),
        )
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            beside: list[asyncio.Task[None]] = [
                group.create_task(keeper.keep()),
                group.create_task(watch.run()),
                group.create_task(self._departure.run(lambda: self._leave(membership, keeper))),
            ]
            if keys is not None:
                await stack.enter_async_context(keys)
                beside.append(group.create_task(keys.watch()))
            await self._supervise(self._departure.leaving)
            for task in beside:
                task.cancel()

    async def _in_use(self, keeper: CertificateKeeper, keys: KeyServer | None) -> None:
        """Return once Envoy goes by what the agent holds. OSError."""
        async with self._writing:
            held, _ = keeper.held
            await asyncio.to_thread(sidecar.follow, self._options, held)
        if keys is not None:
            await keys.in_use()

    def _key_server(self) -> KeyServer | None:
        path = sidecar.keys_socket(self._options)
        if path is None:
            return None
        return KeyServer(path, self._options.workload, log=self._log, monotonic=self._monotonic)

    def _leave(self, membership: Membership, keeper: CertificateKeeper) -> AbstractAsyncContextManager[None]:
        held, _ = keeper.held
        server = ControlPlane(membership.renew_address, membership.trust_domain, held.roots_pem)
        patience = self._options.leave_patience
        if patience is None:
            patience = min(PATIENCE, self._options.drain_time)
        # Whoever says how long it may take has it take as long.
        insist = self._options.leave_patience is not None
        return left(server, membership.workload, held, log=self._log, patience=patience, insist=insist)

    async def _supervise(self, leave: Leave) -> None:
        if not self._options.starts_envoy:
            async with self._writing:
                bootstrap = await asyncio.to_thread(sidecar.write_bootstrap, self._options)
            self._log.info("envoy is started by somebody else", bootstrap=str(bootstrap))
            await self._stopping.drain.wait()
            async with leave():
                return
        await supervise(
            self._start,
            self._stopping,
            log=self._log,
            backoff=Backoff(self._chance, first=0.2, maximum=10.0),
            monotonic=self._monotonic,
            diagnose=lambda: diagnose(self._options),
            drain_time=self._options.drain_time,
            leave=leave,
        )

    async def _start(self) -> Sidecar:
        async with self._writing:
            return await sidecar.start(self._options)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """DirectoryInUse if another agent works in `directory`."""
    descriptor = os.open(directory / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(
                f"another agent works in {directory}: end it, or give each proxy a directory of its own"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _end(log: FilteringBoundLogger, group: BaseExceptionGroup[Exception]) -> int:
    """Tell every cause; the exit code of the first."""
    causes = list(_leaves(group))
    for cause in causes:
        log.error("the agent ends", reason=str(cause), kind=type(cause).__name__)
    first = causes[0]
    return first.exit_code if isinstance(first, AgentError) else FAILED


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
