"""The mesh that the tests of interception share the form of: `web` on host a, `api` on host b, which knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.intercepted import GREETER, PASSED, WEB, Mesh, program, resolver
from tests.support.intercepting import ENVOY, application
from tests.support.mesh import a_document
from tests.support.namespaces import Host, two_hosts

HTTP = {"name": "http", "port": 80, "protocol": "http"}
RAW = {"name": "raw", "port": 9000, "protocol": "tcp"}


def a_service(name: str, *ports: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    return a_document("Service", name, {"ports": [dict(each) for each in ports], **spec})


def a_workload(name: str, host: Host, ports: Mapping[str, int], **interception: Any) -> dict[str, Any]:
    account = name.partition("-")[0]
    spec = {
        "services": ["greeter", "api"] if account == "api" else [account],
        "serviceAccount": account,
        "address": host.ipv4,
        "meshed": True,
        "ports": [{"name": port, "app": number} for port, number in ports.items()],
        "interception": interception,
    }
    return a_document("Workload", name, spec)


@contextlib.asynccontextmanager
async def intercepted_mesh(folder: Path) -> AsyncIterator[Mesh]:
    """On host a `web`, on host b `api`, which also greets on port 9000, and something that is not of the mesh on 8081 and 8082."""
    with two_hosts("10.77.0.2") as (a, b):
        made = Mesh(folder, a, b)
        checks = [{"port": 8080, "path": "/healthz"}]
        made.write(
            "mesh.yaml",
            a_service("web", HTTP),
            a_service("api", HTTP),
            a_service("greeter", RAW),
            a_workload("web-1", a, {"http": 8080}),
            a_workload("api-1", b, {"http": 8080, "raw": 9000}, healthChecks=checks),
        )
        applications = (
            program(folder, "web", a, WEB, 8080),
            program(folder, "api", b, WEB, 8080),
            program(folder, "greeter", b, GREETER, 9000),
            program(folder, "stranger", b, WEB, 8081),
            application(folder, b, 8082),
            resolver(folder, b),
        )
        sidecars = made.sidecar(a, "web-1", "web"), made.sidecar(b, "api-1", "api")
        async with together(made.serving(), *applications), together(*sidecars):
            # Last of all, so that connections which are open already have to survive it.
            await intercept(made)
            yield made


async def intercept(mesh: Mesh) -> None:
    outside = ("--exclude-inbound-port", "8081", "--exclude-inbound-port", "8082")
    common = ("intercept", "--proxy-user", str(ENVOY), "--dns")
    await asyncio.gather(
        asyncio.to_thread(mesh.a.meshwright, *common),
        asyncio.to_thread(mesh.b.meshwright, *common, *PASSED, *outside),
    )


@contextlib.asynccontextmanager
async def together(*contexts: contextlib.AbstractAsyncContextManager[Any]) -> AsyncIterator[None]:
    """All of `contexts`, which start at once and end at once."""

    async def hold(context: contextlib.AbstractAsyncContextManager[Any], ready: asyncio.Event) -> None:
        async with context:
            ready.set()
            await over.wait()

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        started = []
        for context in contexts:
            started.append(asyncio.Event())
            group.create_task(hold(context, started[-1]))
        for each in started:
            await each.wait()
        try:
            yield
        finally:
            over.set()
