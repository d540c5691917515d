"""A mesh whose root is rotated: real sidecars under load, and a crowd of simulated proxies with real agents (`trust_crowd`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from api.shapes.ca import CaStatus
from ca.times import system_clock
from ca.tokens import TokenStore
from meshwright.client import command_ca, get_ca, rotate_ca
from meshwright.errors import UnreachableError
from tests.support import binaries
from tests.support.mesh import LOOPBACK, Instance, Load, Mesh, a_document, a_service_document
from tests.support.processes import eventually


class Crowd:
    """The process of `trust_crowd`, spoken to by lines."""

    def __init__(self, process: asyncio.subprocess.Process, number: int) -> None:
        self.number = number
        self.said: dict[str, Any] = {"ready": 0, "violations": [], "roots": []}
        self._process = process
        self._reading = asyncio.create_task(self._read())

    async def silence(self, which: int = 0) -> None:
        await self._tell(f"silence {which}")

    async def speak(self, which: int = 0) -> None:
        await self._tell(f"speak {which}")

    async def ready(self) -> bool:
        assert self._process.returncode is None, "the crowd has ended: see crowd.log"
        return int(self.said["ready"]) == self.number - 1

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said = json.loads(line)


class TrustMesh:
    """`callers` web-n and as many store-n, all with real sidecars, and a crowd. Load runs through every caller from `loaded` on."""

    def __init__(
        self, mesh: Mesh, callers: list[Instance], stores: list[Instance], crowd: Crowd, loads: list[Load]
    ) -> None:
        self.mesh = mesh
        self.callers = callers
        self.stores = stores
        self.crowd = crowd
        self.loads = loads

    async def status(self) -> CaStatus:
        return await get_ca(self.mesh.data)

    async def rotate(self, *, by_hand: bool = False, what: str = "root") -> CaStatus:
        return await rotate_ca(self.mesh.data, what=what, by_hand=by_hand)

    async def command(self, name: str) -> CaStatus:
        return await command_ca(self.mesh.data, name)

    async def until(
        self,
        stage: str,
        *,
        lagging: set[str] | None = None,
        holders: set[str] | None = None,
        patience: float = 60.0,
    ) -> CaStatus:
        """The status once the stage is reached; and, if `lagging` or `holders` are given, once just these are waited for."""

        async def reached() -> CaStatus | None:
            try:
                found = await self.status()
            except UnreachableError:
                return None
            if found.stage != stage:
                raise AssertionError(
                    f"{found.stage}, waiting for {[(e.workload, e.holder, e.lacks) for e in found.lagging][:5]}"
                )
            names = {each.workload for each in found.lagging}
            if lagging is not None and names != lagging:
                raise AssertionError(f"{found.stage}, waiting for {sorted(names)[:5]}")
            kinds = {each.holder for each in found.lagging}
            if holders is not None and kinds != holders:
                raise AssertionError(f"{found.stage}, waiting for {sorted(kinds)}")
            return found

        assert self.mesh.server is not None
        return await eventually(reached, f"{stage} ({lagging})", patience=patience)

    async def killed(self) -> None:
        """SIGKILL, and a new control plane in its place."""
        assert self.mesh.server is not None
        await self.mesh.server.kill()
        await self.mesh.serve()

    async def more(self, requests: int = 20) -> None:
        await asyncio.gather(*(load.more(requests) for load in self.loads))

    def check(self) -> int:
        """No request failed, and no proxy of the crowd ever held what another could not verify; how many requests that were."""
        failures = [failure for load in self.loads for failure in load.failures]
        assert not failures, failures[:5]
        assert not self.crowd.said["violations"], self.crowd.said["violations"]
        return sum(load.answered for load in self.loads)


@contextlib.asynccontextmanager
async def a_trust_mesh(
    folder: Path, *, pairs: int, crowd: int, workers: int = 2, pause: float = 0.02, **options: Any
) -> AsyncIterator[TrustMesh]:
    async with Mesh(folder, **options) as mesh:
        callers = [Instance("web", f"web-{n}", uses=("store",)) for n in range(pairs)]
        stores = [Instance("store", f"store-{n}") for n in range(pairs)]
        mesh.write_service("web", *callers)
        mesh.write_service("store", *stores)
        members = (_member(n) for n in range(crowd))
        mesh.write("crowd.yaml", a_service_document("crowd"), *members)
        await mesh.serve()
        for n in range(0, pairs, 4):
            await mesh.up(*callers[n : n + 4], *stores[n : n + 4])

        async def passes() -> bool:
            return all([(await mesh.call(each, "store.mesh"))[0] == 200 for each in callers])

        await eventually(passes, "requests pass")
        # One more than are declared: it joins, connects and waits, and nobody waits for it.
        started = await _start_crowd(mesh, crowd + 1)
        try:
            await eventually(started.ready, "the crowd has its secrets", patience=120.0)
            async with contextlib.AsyncExitStack() as stack:
                loads = [
                    await stack.enter_async_context(
                        Load(f"http://{LOOPBACK}:{each.outbound_port}/", "store.mesh", workers, pause)
                    )
                    for each in callers
                ]
                yield TrustMesh(mesh, callers, stores, started, loads)
        finally:
            await started.stop()


def _member(number: int) -> dict[str, Any]:
    """Nobody listens there: it is called by nobody."""
    ports = [{"name": "http", "app": 9, "sidecar": 10}]
    address = f"127.1.{number // 250}.{number % 250 + 1}"
    spec = {"services": ["crowd"], "address": address, "ports": ports, "meshed": True, "uses": []}
    return a_document("Workload", f"crowd-{number}", spec)


async def _start_crowd(mesh: Mesh, number: int) -> Crowd:
    token = await asyncio.to_thread(
        lambda: TokenStore(mesh.data).create("default", "crowd", now=system_clock(), uses=number)
    )
    told = {
        "xds": f"{LOOPBACK}:{mesh.xds_port}",
        "join": f"{LOOPBACK}:{mesh.join_port}",
        "bundle": str(mesh.data / "roots.pem"),
        "token": token,
        "folder": str(mesh.folder / "crowd"),
        "proxies": number,
    }
    with (mesh.folder / "crowd.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.trust_crowd", json.dumps(told)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
            cwd=binaries.ROOT,
        )
    return Crowd(process, number)
