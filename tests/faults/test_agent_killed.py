"""The agent that serves an Envoy its keys is killed, loses its socket, and has no room on its disk: no request fails of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envoy.launcher import EnvoyProcess, LaunchOptions
from tests.feature.test_rotation import serial_numbers
from tests.support import binaries
from tests.support.mesh import LOOPBACK, Instance, Load, Mesh
from tests.support.processes import eventually

LIFE = 16
"""Seconds."""


@contextlib.asynccontextmanager
async def small_disk(path: Path) -> AsyncIterator[None]:
    """A file system of its own that can be full."""
    path.mkdir()
    if os.geteuid() or await _run("mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(path)):
        pytest.skip("only root can mount a small file system")
    try:
        yield
    finally:
        await _run("umount", "--lazy", str(path))


async def _run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def connected(mesh: Mesh, each: Instance) -> tuple[int, int]:
    """Envoy's connections to whoever serves its keys: now, and ever."""
    text = str(await mesh.envoy(each, "/stats?filter=^cluster.keys.upstream_cx_(active|total)$"))
    active, total = (int(re.findall(rf"upstream_cx_{name}: (\d+)", text)[0]) for name in ("active", "total"))
    return active, total


async def test_an_agent_that_is_killed_and_comes_back_while_the_control_plane_is_away(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(Mesh(tmp_path, certificate_lifetime=f"{LIFE}s"))
        web, store = Instance("web", "web-1", uses=("store",)), Instance("store", "store-1")
        folder = tmp_path / "store-1-agent"
        await stack.enter_async_context(small_disk(folder))
        for each in (web, store):
            mesh.write_service(each.service, each)
            await mesh.app(each)
        server = await mesh.serve()
        # Envoy is not the agent's child here, so that it outlives it.
        agent = await mesh.sidecar(store, "--no-start-envoy", ready=False)
        await mesh.sidecar(web)
        bootstrap = folder / "bootstrap.json"

        async def written() -> bool:
            return bootstrap.exists()

        await eventually(written, "the bootstrap is there", agent)
        options = LaunchOptions(Path(binaries.envoy()), bootstrap, log=tmp_path / "store-1-envoy.log")
        envoy = await EnvoyProcess.start(options)
        stack.push_async_callback(envoy.stop)

        async def passes() -> bool:
            return (await mesh.call(web, "store.mesh"))[0] == 200

        await eventually(passes, "a request passes", agent)
        load = await stack.enter_async_context(
            Load(f"http://{LOOPBACK}:{web.outbound_port}/", "store.mesh", workers=2)
        )
        before = await serial_numbers(mesh, store)
        _, connections = await connected(mesh, store)

        await server.kill()
        await agent.kill()
        await load.more(20)
        agent = await mesh.sidecar(store, "--no-start-envoy", ready=False)

        async def back() -> bool:
            active, total = await connected(mesh, store)
            return active == 1 and total > connections

        await eventually(back, "envoy has its keys from the agent again", agent)
        assert await serial_numbers(mesh, store) == before, "from the disk: nobody else could have given them"

        server = await mesh.serve()
        socket = folder / "sds" / "agent.sock"
        was = socket.stat().st_ino
        socket.unlink()

        async def anew() -> bool:
            return socket.exists() and socket.stat().st_ino != was and (await connected(mesh, store))[0] == 1

        await eventually(anew, "the socket is there again", agent)

        async def renewed() -> bool:
            now = await serial_numbers(mesh, store)
            return bool(now) and now.isdisjoint(before)

        await eventually(renewed, "envoy has a new certificate", agent)

        # No room for the next one: the agent goes on with what it has, and tries again.
        filler = folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        before, told = await serial_numbers(mesh, store), len(agent.text())

        async def full() -> bool:
            return "No space left on device" in agent.text()[told:]

        await eventually(full, "the agent has no room", agent)
        assert await serial_numbers(mesh, store) == before
        filler.unlink()
        await eventually(renewed, "envoy has a new certificate", agent)
        await load.more(20)
        assert load.failures == []
        assert load.callers == {web.identity}
