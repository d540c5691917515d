"""`meshwright explain` against a running mesh: what it says is what a request meets; from what a live proxy has, and where that differs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.api import Api
from tests.support.mesh import Instance, Mesh, a_document
from tests.support.processes import Process, eventually, meshwright

ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "api"},
    "spec": {
        "parentRefs": [{"group": "", "kind": "Service", "name": "api"}],
        "rules": [
            {"matches": [{"path": {"value": "/orders"}}], "backendRefs": [{"name": "api", "port": 80}]},
        ],
    },
}
ACCESS = a_document(
    "AccessPolicy",
    "api",
    {
        "targetRefs": [{"kind": "Service", "name": "api"}],
        "action": "allow",
        "rules": [{"from": [{"service": "web"}], "to": [{"paths": ["/orders/*"]}]}],
    },
)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Mesh, Instance, Process]]:
    """`web` may call `api`, as the policy says."""
    web, api = Instance("web", "web-1", uses=("api",)), Instance("api", "api-1")
    async with Mesh(folder) as mesh:
        mesh.write_service("web", web)
        mesh.write_service("api", api)
        mesh.write("access.yaml", ACCESS)
        server = await mesh.serve()
        await mesh.up(web, api)

        async def answers() -> bool:
            return (await mesh.call(web, "api", "/orders/7"))[0] == 200

        await eventually(answers, "web may call api", server)
        yield mesh, web, server


async def explained(mesh: Mesh, path: str, **more: Any) -> Any:
    """By the API, as the command asks it."""
    body = {"from": "web", "to": "api", "path": path, **more}
    answer = await Api(mesh.data)("POST", "/api/v1/explain", body)
    assert answer.status == 200, answer
    return answer.json


async def commanded(mesh: Mesh, *options: str) -> str:
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(
        *meshwright("explain", "--data-dir", str(mesh.data), "--from", "web", "--to", "api", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, error = await process.communicate()
    assert (process.returncode, error.decode()) == (0, "")
    return output.decode()


async def test_what_is_explained_is_what_is_met(tmp_path: Path) -> None:
    async with running(tmp_path) as (mesh, web, server):
        assert (await mesh.call(web, "api", "/orders/7"))[0] == 200
        (taken,) = (await explained(mesh, "/orders/7"))["outcomes"]
        assert (taken["ending"], taken["workloads"]) == ("application", ["default/api-1"])
        assert (await mesh.call(web, "api", "/admin"))[0] == 403
        found = await explained(mesh, "/admin")
        (refused,) = found["outcomes"]
        assert (refused["status"], refused["clusters"]) == (403, ["default/api:80"])
        access = next(step for step in _steps(found["way"]) if step["stage"] == "access")
        assert access["sources"] == [
            {"document": "AccessPolicy default/api", "path": "spec", "file": "access.yaml", "line": 5}
        ]

        # What the control plane gave the proxy, and what Envoy itself says that it has: the same.
        held = await mesh.envoy(web, "/config_dump?include_eds")
        told = await mesh.config_dump("web-1")
        ways: tuple[dict[str, Any], ...] = ({"proxy": "default/web-1"}, {"dump": held}, {"dump": told})
        for how in ways:
            live = await explained(mesh, "/orders/7", **how)
            assert (live["differences"], live["outcomes"]) == ([], [taken])
        without = await explained(mesh, "/orders/7", dump=await mesh.envoy(web, "/config_dump"))
        assert (without["differences"], without["outcomes"]) == ([], [taken])
        assert "include_eds" in without["cautions"][-1]
        admin = ("--admin", f"127.0.0.1:{web.admin_port}", "-o", "json")
        live = json.loads(await commanded(mesh, "GET", "/orders/7", *admin))
        assert (live["differences"], live["outcomes"]) == ([], [taken])

        # An old dump is not what the mesh says once there is a route.
        mesh.write("route.yaml", ROUTE)

        async def routed() -> bool:
            return (await mesh.call(web, "api", "/other"))[0] == 404

        await eventually(routed, "the route is followed", server)
        old = await explained(mesh, "/other", dump=held)
        assert old["outcomes"][0]["status"] == 403
        assert old["differences"] == [
            "routes default/api: not the same in virtual_hosts",
            "by what the mesh says, all would see 404: no rule for this host takes such a request",
        ]
        said = await commanded(mesh, "GET", "/other")
        last = "  404: no rule for this host takes such a request\n    Way out: Add a rule that does\n"
        assert last in said


async def test_questions_that_cannot_be_answered(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        await mesh.serve()
        api = Api(mesh.data)
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"to": "api"}, "who calls"),
            ({"from": "ghost", "to": "api"}, "no workload default/ghost"),
            ({"from": "a/", "to": "api"}, "is not <namespace>/<name>"),
            ({"gateway": "edge"}, "no workload plays gateway default/edge"),
            ({"from": "ghost", "to": "api", "path": "orders"}, "slash"),
            ({"from": "ghost", "to": "api", "proxy": "ghost"}, "no proxy default/ghost is connected"),
            ({"from": "ghost", "to": "api", "dump": {"configs": []}}, "no listeners"),
            ({"from": "ghost", "to": "api", "clientAddress": "here"}, "no IP address"),
        )
        for body, reason in wrong:
            answer = await api("POST", "/api/v1/explain", body)
            assert answer.status == 422, answer
            assert reason in answer.json["detail"], answer


def _steps(branch: dict[str, Any]) -> list[dict[str, Any]]:
    return [*branch["steps"], *(one for each in branch["branches"] for one in _steps(each))]
