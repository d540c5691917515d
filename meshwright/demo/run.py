"""Run the demo: the control plane, the services and their sidecars, each a process of its own.

Everything listens on loopback and lives in one temporary directory; every process ends with the demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from ca.times import system_clock
from ca.tokens import TokenStore
from envoy import install
from meshwright.demo.layout import ADDRESS, Instance, Layout, documents, plan
from meshwright.errors import DemoError

PATIENCE = 60.0
"""Seconds until the mesh has to carry requests. It takes two or three on an idle machine."""

REQUESTS = 12
console = Console(highlight=False)


async def run_demo(*, check: bool) -> int:
    """Bring the mesh up and send requests through it; then stay until interrupted, or, with `check`, exit with 0 or 1."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    layout = plan()
    with tempfile.TemporaryDirectory(prefix="meshwright-demo-") as folder:
        try:
            async with _mesh(Path(folder), layout) as control_plane:
                answers = await _requests(layout)
                _show_hops(answers)
                await _refuses_plaintext(layout)
                if check:
                    console.print("The check passed.")
                    return 0
                _invite(layout, Path(folder), control_plane.pid)
                watching = asyncio.create_task(
                    _watch(control_plane, shlex.join(_serve(Path(folder), layout)))
                )
                await stop.wait()
                watching.cancel()
                console.print("Stopping.")
        except DemoError as error:
            console.print(f"The demo failed: {error}")
            return 1
    return 0


@contextlib.asynccontextmanager
async def _mesh(folder: Path, layout: Layout) -> AsyncIterator[asyncio.subprocess.Process]:
    """The whole mesh, up and answering; down again at the end. Yields the control plane."""
    config, data = folder / "config", folder / "control-plane"
    config.mkdir()
    for name, text in documents(layout):
        (config / name).write_text(text)
    envoy = str(await asyncio.to_thread(_envoy))
    async with contextlib.AsyncExitStack() as running:
        control_plane = await running.enter_async_context(
            _process(folder / "control-plane.log", *_serve(folder, layout))
        )
        await _until(
            lambda: _ready(layout, control_plane),
            "the control plane is not ready",
            folder / "control-plane.log",
        )
        for each in layout.instances:
            await running.enter_async_context(_process(folder / f"{each.name}.log", *_app(each)))
            token = folder / f"{each.name}.token"
            token.touch(mode=0o600)
            token.write_text(
                TokenStore(data).create("default", each.service, now=system_clock(), workload=each.name)
            )
            await running.enter_async_context(
                _process(
                    folder / f"{each.name}-sidecar.log",
                    *(sys.executable, "-m", "meshwright", "proxy", "--workload", f"default/{each.name}"),
                    *(
                        "--control-plane",
                        f"{ADDRESS}:{layout.xds_port}",
                        "--join",
                        f"{ADDRESS}:{layout.join_port}",
                    ),
                    *("--bundle", str(data / "roots.pem"), "--token-file", str(token)),
                    *(
                        "--data-dir",
                        str(folder / f"{each.name}-sidecar"),
                        "--admin-port",
                        str(each.envoy_admin_port),
                    ),
                    *("--envoy", envoy, "--drain-time", "1s"),
                )
            )
        _show_processes(layout)
        for each in layout.of("web"):
            log = folder / f"{each.name}-sidecar.log"
            await _until(lambda each=each: _passes(each), f"no request passes through {each.name}", log)  # type: ignore[misc]
        yield control_plane


def _serve(folder: Path, layout: Layout) -> list[str]:
    return [
        *(sys.executable, "-m", "meshwright", "serve", "--data-dir", str(folder / "control-plane")),
        *("--documents", str(folder / "config"), "--log-format", "console"),
        *("--xds-address", f"{ADDRESS}:{layout.xds_port}", "--join-address", f"{ADDRESS}:{layout.join_port}"),
        *("--admin-address", f"{ADDRESS}:{layout.admin_port}", "--api-address", f"{ADDRESS}:0"),
    ]


def _envoy() -> Path:
    return install.find_envoy() or install.install()


def _app(each: Instance) -> list[str]:
    """The service itself: plain HTTP, no library of ours, and it knows of the mesh only where its outbound port is."""
    app = Path(__file__).with_name("app.py")
    command = [
        sys.executable,
        str(app),
        "--name",
        each.service,
        "--instance",
        each.name,
        "--port",
        str(each.app_port),
    ]
    if each.calls:
        command += [
            "--next",
            f"http://{ADDRESS}:{each.outbound_port}/",
            "--host-header",
            f"{each.calls}.mesh",
        ]
    return command


@contextlib.asynccontextmanager
async def _process(log: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until(holds: Callable[[], Awaitable[bool]], failure: str, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            text = await asyncio.to_thread(log.read_text, errors="replace")
            last = "\n".join(text.splitlines()[-15:])
            raise DemoError(f"{failure} after {PATIENCE:.0f} s. The end of its log:\n{last}")
        await asyncio.sleep(0.1)


async def _ready(layout: Layout, control_plane: asyncio.subprocess.Process) -> bool:
    if control_plane.returncode is not None:
        raise DemoError(f"the control plane ended with exit code {control_plane.returncode}")
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{ADDRESS}:{layout.admin_port}/readyz") as answer,
        ):
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _passes(web: Instance) -> bool:
    try:
        answer = await _get(web)
    except (aiohttp.ClientError, TimeoutError):
        return False
    return len(_hops(answer)) == 3


async def _get(web: Instance) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(f"http://{ADDRESS}:{web.app_port}/") as answer,
    ):
        body: dict[str, Any] = await answer.json()
        return body


def _hops(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of the chain, the first service's first; it ends where a hop failed."""
    hops: list[dict[str, Any]] = []
    at: Any = answer
    while isinstance(at, dict) and "instance" in at:
        hops.append(at)
        at = at.get("next")
    return hops


async def _requests(layout: Layout) -> list[list[dict[str, Any]]]:
    web = layout.of("web")
    answers = [_hops(await _get(web[number % len(web)])) for number in range(REQUESTS)]
    for hops in answers:
        names = [hop["service"] for hop in hops]
        if names != ["web", "api", "store"]:
            raise DemoError(f"a request took the way {' → '.join(names)}, not web → api → store")
        for hop, caller in zip(hops[1:], names, strict=False):
            expected = f"spiffe://mesh.local/ns/default/sa/{caller}"
            if hop["caller"] != expected:
                raise DemoError(f"{hop['instance']} was called by {hop['caller']}, not by {expected}")
    return answers


async def _refuses_plaintext(layout: Layout) -> None:
    """Mutual TLS is not an offer but a condition: a request without it gets no answer."""
    target = layout.of("store")[0]
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"http://{ADDRESS}:{target.sidecar_port}/") as answer,
        ):
            raise DemoError(f"{target.name} answered a plaintext request with {answer.status}")
    except aiohttp.ClientError:
        console.print(f"A plaintext request to {target.name}'s sidecar was refused, as it should be.")


def _show_processes(layout: Layout) -> None:
    table = Table(
        "instance", "application", "mutual TLS in", "calls out", "Envoy's admin", box=None, pad_edge=False
    )
    for each in layout.instances:
        ports = (each.app_port, each.sidecar_port, each.outbound_port, each.envoy_admin_port)
        table.add_row(each.name, *(str(port) for port in ports))
    console.print(f"Everything listens on {ADDRESS}. Ports:")
    console.print(table)
    console.print(
        f"Control plane: xDS {layout.xds_port}, join {layout.join_port}, metrics http://{ADDRESS}:{layout.admin_port}/metrics"
    )


def _show_hops(answers: list[list[dict[str, Any]]]) -> None:
    console.print(f"\n{len(answers)} requests through web → api → store, each hop over mutual TLS:")
    for hops in answers:
        console.print("  " + " → ".join(str(hop["instance"]) for hop in hops))
    console.print("Who the callers were, as their sidecars proved it:")
    for service, caller in sorted(
        {(str(hop["service"]), str(hop["caller"])) for hops in answers for hop in hops[1:]}
    ):
        console.print(f"  {service} was called by {caller}")


def _invite(layout: Layout, folder: Path, control_plane: int) -> None:
    """What to try next: lines that can be pasted as they are, however wide the terminal is."""
    web, command = layout.of("web")[0], Path(sys.executable).parent / "meshwright"
    lines = (
        "",
        "The mesh is up. Try, in another terminal:",
        f"  curl -s http://{ADDRESS}:{web.app_port}/                                  # a request through the chain",
        f"  curl -s -H 'Host: api.mesh' http://{ADDRESS}:{web.outbound_port}/              # as web-1, straight into its sidecar",
        f"  {command} status --data-dir {folder}/control-plane",
        f"  {command} workloads --data-dir {folder}/control-plane",
        f"  kill -9 {control_plane}                                                # the control plane: requests go on",
        f"Documents to edit: {folder}/config/*.yaml. Logs: {folder}/*.log. Ctrl-C ends everything.",
    )
    console.print("\n".join(lines), soft_wrap=True, markup=False)


async def _watch(process: asyncio.subprocess.Process, command: str) -> None:
    """Say so if the control plane ends, and how to bring it back."""
    await process.wait()
    console.print(
        f"\nThe control plane has ended. The mesh goes on with what it has: send requests. To bring it back:\n  {command}",
        soft_wrap=True,
        markup=False,
    )
