"""What cold proxies get while documents are set aside, what a restart changes in that, and proxies of two versions of Envoy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support import binaries
from tests.support.headers import headers
from tests.support.mesh import Instance, Mesh
from tests.support.poisons import TYPE, of_routes, poisons
from tests.support.processes import eventually, meshwright, start

ALL = 'meshwright_quarantined_documents{for="all"}'
NACKS = "meshwright_xds_nacks_total"


async def nacks(mesh: Mesh) -> float:
    lines = (await mesh.metrics()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(NACKS))


@pytest.mark.timeout(300)
async def test_cold_proxies_start_also_after_a_restart_and_refuse_nothing(tmp_path: Path) -> None:
    api, web = Instance("api", "api-1"), Instance("web", "web-1", uses=("api",))
    cold, later = Instance("web", "web-2", uses=("api",)), Instance("web", "web-3", uses=("api",))
    # One of each type of resource: a cluster, routes, a listener, and an extension.
    every = poisons(api)[::3]
    async with Mesh(tmp_path) as mesh:
        mesh.write_service("api", api)
        mesh.write_service("web", web, cold, later)
        await mesh.serve()
        await mesh.up(api, web)
        mesh.write("poison.yaml", *(each.document(each.bad, f"poison-{n}") for n, each in enumerate(every)))

        async def all_told() -> bool:
            return await mesh.metric(ALL) == len(every)

        await eventually(all_told, "each is set aside for all")
        refused = await nacks(mesh)
        await mesh.up(cold)
        assert (await mesh.call(cold, "api.mesh"))[0] == 200
        assert await nacks(mesh) == refused, "a cold proxy is given what others took"

        assert mesh.server is not None
        await mesh.server.kill()
        await mesh.serve()
        await mesh.up(later)
        assert (await mesh.call(later, "api.mesh"))[0] == 200
        assert await mesh.metric(ALL) == len(every)
        assert await nacks(mesh) == 0, "what was refused is sent to nobody after a restart"

        listed = await said(mesh, "quarantine", "list", "-o", "name")
        assert {f"{each.kind} default/poison-{n}" for n, each in enumerate(every)} == set(listed.splitlines())
        table = await said(mesh, "quarantine", "list")
        assert all(each.says.split()[0] in table for each in every)
        assert "all of envoy 1.40" in table
        described = await said(mesh, "get", "EnvoyPatch", "poison-0", "-o", "yaml")
        assert "set aside for all proxies" in described
        released = await said(mesh, "quarantine", "release", "EnvoyPatch", "poison-0")
        assert released.startswith("released poison-0")


async def said(mesh: Mesh, *command: str) -> str:
    """What a command prints."""
    process = await start("command", mesh.folder, *meshwright(*command, "--data-dir", str(mesh.data)))
    assert await process.process.wait() == 0, process.tail()
    text = process.text()
    process.log.unlink()
    return text


@pytest.mark.timeout(300)
async def test_what_one_version_refuses_another_gets(tmp_path: Path) -> None:
    """The filter `transform` came with Envoy 1.37."""
    api, web = Instance("api", "api-1"), Instance("web", "web-1", uses=("api",))
    old, cold = Instance("old", "old-1", uses=("api",)), Instance("old", "old-2", uses=("api",))
    config = {"transform": {"@type": f"{TYPE}filters.http.transform.v3.TransformConfig"}}
    route = {"match": {"prefix": "/"}, "directResponse": {"status": 200}, "typedPerFilterConfig": config}
    header = [{"header": {"key": "x-newer", "value": "yes"}}]
    newer = of_routes(
        {
            "virtualHosts": [{"name": "more", "domains": ["more.test"], "routes": [route]}],
            "responseHeadersToAdd": header,
        },
        "transform",
    )
    async with Mesh(tmp_path) as mesh:
        mesh.write_service("api", api)
        mesh.write_service("web", web)
        mesh.write_service("old", old, cold)
        await mesh.serve()
        oldest = ("--envoy", binaries.envoy(binaries.OLDEST))
        await mesh.up(api, web)
        await asyncio.gather(*(mesh.app(each) for each in (old, cold)))
        await mesh.sidecar(old, *oldest)
        mesh.write("newer.yaml", newer.document(newer.bad, "newer"))

        async def told() -> bool:
            problems = (await mesh.status()).problems
            why = problems.get("EnvoyPatch default/newer at envoy 1.36", "")
            assert "EnvoyPatch default/newer at envoy 1.40" not in problems
            return "all proxies of envoy 1.36" in why

        await eventually(told, "the older version is told of")

        async def arrived() -> bool:
            return (await headers(web, "api.mesh")).get("x-newer") == "yes"

        await eventually(arrived, "the newer version has it")
        await mesh.sidecar(cold, *oldest)
        for each in (old, cold):
            assert "x-newer" not in await headers(each, "api.mesh")
