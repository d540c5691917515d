"""A mesh of forty services for proxies that are given clusters on demand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support import binaries
from tests.support.mesh import LOOPBACK, Instance, Mesh, a_document, a_service_document
from tests.support.ports import free_port

SERVICES = [f"s{number}" for number in range(40)]
"""Of the last, the port is TCP."""
TCP = "default/s39:80"


class Application:
    """Answers with its port, for as many services as there are."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[str] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append(request.host)
        return web.json_response({"instance": str(self.port), "caller": request.host, "length": len(body)})


class OnDemandWorld:
    """A control plane, sidecars with clusters on demand of two versions of Envoy, one without, and two applications behind all services."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.newest, self.oldest = Instance("web", "web-1", uses=None), Instance("web", "web-2", uses=None)
        self.whole = Instance("plain", "plain-1", uses=None)
        self.first, self.second = Application(), Application()

    def service(self, name: str, port: int, protocol: str = "http") -> None:
        spec = {"services": [name], "address": LOOPBACK, "ports": [{"name": "http", "app": port}]}
        self.mesh.write(
            f"{name}.yaml",
            a_service_document(name, protocol=protocol),
            a_document("Workload", f"{name}-1", spec),
        )

    async def start(self) -> None:
        await asyncio.gather(self.first.start(), self.second.start())
        for name in SERVICES:
            self.service(name, self.first.port, "tcp" if name == SERVICES[-1] else "http")
        documents = [self.newest.document(), self.oldest.document()]
        for each in documents:
            each["spec"]["clusters"] = "onDemand"
        self.mesh.write("web.yaml", a_service_document("web"), *documents)
        self.mesh.write_service("plain", self.whole)
        await self.mesh.serve()
        await asyncio.gather(
            self.mesh.sidecar(self.newest),
            self.mesh.sidecar(self.oldest, "--envoy", binaries.envoy(binaries.OLDEST)),
            self.mesh.sidecar(self.whole),
        )

    def route(self, service: str, *backends: tuple[str, int], filters: Sequence[object] = ()) -> None:
        refs = [{"name": name, "port": 80, "weight": weight} for name, weight in backends]
        document = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": service},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": service}],
                "rules": [{"filters": list(filters), "backendRefs": refs}],
            },
        }
        self.mesh.write(f"route-{service}.yaml", document)

    def remove(self, file: str) -> None:
        (self.mesh.documents / file).unlink()

    async def stop_serving(self) -> None:
        assert self.mesh.server is not None
        await self.mesh.server.stop()

    @staticmethod
    def url(of: Instance) -> str:
        return f"http://{LOOPBACK}:{of.outbound_port}/"

    async def answers(self, caller: Instance, host: str, status: int) -> bool:
        return (await self.called(caller, host))[0] == status

    async def leads_to(self, caller: Instance, host: str, application: Application) -> bool:
        status, said, _ = await self.called(caller, host)
        return status == 200 and said["instance"] == str(application.port)

    async def has(self, caller: Instance, *services: str) -> bool:
        """Whether a sidecar has the clusters of `services`."""
        return {f"default/{name}:80" for name in services} <= await self.clusters(caller)

    async def clusters(self, of: Instance) -> set[str]:
        """The clusters of services that a sidecar has."""
        found = await self.mesh.envoy(of, "/clusters?format=json")
        names = {status["name"] for status in found.get("cluster_statuses", [])}
        return {name for name in names if ":80" in name}

    async def called(self, caller: Instance, host: str) -> tuple[int, Any, float]:
        """Status, answer, and the seconds that they took."""
        began = time.monotonic()
        status, said = await self.mesh.call(caller, host)
        return status, said, time.monotonic() - began


@contextlib.asynccontextmanager
async def on_demand_world(folder: Path) -> AsyncIterator[OnDemandWorld]:
    async with Mesh(folder) as mesh:
        made = OnDemandWorld(mesh)
        try:
            await made.start()
            yield made
        finally:
            await asyncio.gather(made.first.stop(), made.second.stop())
