"""What the agent answers to whoever looks after its workload: an orchestrator, over HTTP on a port of its own; and the host's owner, on a Unix
socket that is its owner's alone.

The port is open to all who reach the pod, in plaintext. So what can be asked there changes nothing, and takes nothing from the caller: whether the
sidecar is ready, and the checks that the workload's manifest declares. Leaving the mesh is asked for on the socket (`meshwright leave`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from agent import sockets
from agent.app_checks import AppAddress, make
from agent.app_probes import LEFT, PRE_STOP, PREFIX, READY, AppCheck
from agent.departure import Departure
from agent.errors import BadOption

LEAVE: Final = "/leave"
"""On the socket."""
AT_ONCE: Final = 32
"""Checks of the application that are made at the same time; others wait."""
BEGUN: Final = 5.0
"""Seconds that a container which ends waits to hear whether its pod ends. Hooks of one pod run at the same time, but each takes its time to
start; a container that ends alone, since its liveness probe fails, loses no more."""
LONGEST: Final = 8192
"""Bytes of a request's path or of one header."""
GRACE: Final = 1.0
"""Seconds that open requests get at the end."""

Ready = Callable[[], Awaitable[bool]]


@contextlib.asynccontextmanager
async def attending(
    departure: Departure,
    ready: Ready,
    checks: Mapping[str, AppCheck],
    address: AppAddress,
    port: int,
) -> AsyncIterator[None]:
    """Answer on `port` of all addresses, within the block. BadOption if the port is taken."""
    app = web.Application(client_max_size=0)
    app.add_routes(
        [
            web.get(READY, _readiness(ready)),
            web.get(LEFT, _waiting(departure, {}, address)),
            web.get(LEFT + "/{container}", _waiting(departure, checks, address)),
            web.get(PREFIX + "/{container}/{check}", _checking(checks, address)),
        ]
    )
    runner = _runner(app)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, None, port).start()
        except OSError as error:
            raise BadOption(
                f"the agent cannot listen on port {port} ({error.strerror}): end what listens there, or give another --agent-port"
            ) from error
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def taking_leave(departure: Departure, socket: Path) -> AsyncIterator[None]:
    """Take `meshwright leave` on `socket`, within the block. OSError. What a crash left there is replaced."""
    app = web.Application(client_max_size=0)
    app.add_routes([web.post(LEAVE, _leaving(departure))])
    runner = _runner(app)
    await runner.setup()
    await asyncio.to_thread(sockets.own, socket.parent)
    try:
        await web.UnixSite(runner, str(socket)).start()
        yield
    finally:
        await runner.cleanup()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app, access_log=None, shutdown_timeout=GRACE, max_line_size=LONGEST, max_field_size=LONGEST
    )


def _readiness(ready: Ready) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        if await ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="the sidecar has no configuration yet\n")

    return handle


def _waiting(departure: Departure, checks: Mapping[str, AppCheck], address: AppAddress) -> Handler:
    made = set[str]()

    async def handle(request: web.Request) -> web.Response:
        if not await departure.left(BEGUN):
            return web.Response(text="this pod does not end\n")
        name = f"{request.match_info.get('container', '')}/{PRE_STOP}"
        check = checks.get(name)
        if check is None or name in made:
            return web.Response(text="callers have heard\n")
        made.add(name)
        outcome = await make(check, address, request.headers)
        return web.Response(status=outcome.status, text=outcome.text)

    return handle


def _leaving(departure: Departure) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        await departure.leave()
        return web.Response(text="callers have heard\n")

    return handle


def _checking(checks: Mapping[str, AppCheck], address: AppAddress) -> Handler:
    making = asyncio.Semaphore(AT_ONCE)

    async def handle(request: web.Request) -> web.Response:
        name = f"{request.match_info['container']}/{request.match_info['check']}"
        check = checks.get(name)
        if check is None or request.match_info["check"] == PRE_STOP:
            return web.Response(status=404, text=f"this pod declares no check {name[:200]}\n")
        async with making:
            outcome = await make(check, address, request.headers)
        return web.Response(status=outcome.status, text=outcome.text)

    return handle
