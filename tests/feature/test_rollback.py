"""Going back to any of fifty revisions gives each proxy exactly the resources that it had then."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshwright.data_dir import SOCKET
from tests.support.crowds import a_crowd
from tests.support.mesh import Mesh, a_document, a_service_document
from tests.support.processes import eventually

REVISIONS = 50
SERVICES = ("api", "store", "cart")
OURS = "meshwright.dev/v1alpha1"
ROUTES = "gateway.networking.k8s.io/v1"


class Socket:
    """The API, on the data directory's socket."""

    def __init__(self, mesh: Mesh, session: aiohttp.ClientSession) -> None:
        self.mesh = mesh
        self._session = session

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, f"http://control-plane/api/v1/{path}", json=body) as answer:
            text = await answer.text()
            assert answer.status in {200, 201}, text
            return json.loads(text)

    async def acknowledged(self, revision: int) -> None:
        found = await self.ask("GET", f"revisions/{revision}/acknowledgements?timeout=60")
        assert found["state"] == "acknowledged", found

    async def resources(self) -> dict[tuple[str, str], str]:
        """What the proxy is given: the hash of each resource's bytes, by type and name."""
        dump = await self.ask("GET", "proxies/default/crowd-0/config-dump")
        return {(each["type"], each["name"]): each["version"] for each in dump["resources"]}


def a_write(chance: random.Random) -> dict[str, Any]:
    """Some policies and routes written, or deleted."""
    documents: list[dict[str, Any]] = []
    for service in chance.sample(SERVICES, chance.randint(1, 3)):
        choices: list[tuple[str, dict[str, Any]]] = [
            ("TimeoutPolicy", {"request": f"{chance.randint(1, 60)}s"}),
            ("RetryPolicy", {"attempts": chance.randint(1, 9)}),
            ("CircuitBreaker", {"requests": chance.randint(1, 999)}),
            ("LoadBalancing", {"algorithm": chance.choice(["roundRobin", "random", "leastRequest"])}),
        ]
        kind, spec = chance.choice(choices)
        documents.append(
            {
                "apiVersion": OURS,
                "kind": kind,
                "metadata": {"name": service},
                "spec": {**spec, "targetRefs": [{"kind": "Service", "name": service}]},
            }
        )
    service = chance.choice(SERVICES)
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": f"/{chance.randint(1, 5)}"}}],
        "backendRefs": [{"name": chance.choice(SERVICES), "port": 80}],
    }
    parent = {"group": "", "kind": "Service", "name": service}
    documents.append(
        {
            "apiVersion": ROUTES,
            "kind": "HTTPRoute",
            "metadata": {"name": service},
            "spec": {"parentRefs": [parent], "rules": [rule]},
        }
    )
    return {"documents": documents}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("back", [8, pytest.param(REVISIONS, marks=pytest.mark.heavy)])
async def test_rollback_to_any_of_fifty_revisions_gives_the_same_resources(
    mesh: Mesh, tmp_path: Path, back: int
) -> None:
    """To `back` of them, chosen at random."""
    chance = random.Random(6)
    caller = a_document(
        "Workload", "crowd-0", {"address": "127.0.0.1", "meshed": True, "uses": list(SERVICES)}
    )
    endpoints = [
        a_document(
            "Workload",
            f"{service}-1",
            {"services": [service], "address": f"127.0.0.{place}", "ports": [{"name": "http", "app": 9000}]},
        )
        for place, service in enumerate(SERVICES, 2)
    ]
    mesh.write("mesh.yaml", *map(a_service_document, SERVICES), caller, *endpoints)
    await mesh.serve()
    connector = aiohttp.UnixConnector(str(mesh.data / SOCKET))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        a_crowd(tmp_path, mesh, "one", {"honest": 1}),
    ):
        api = Socket(mesh, session)

        async def connected() -> bool:
            return len((await mesh.status()).proxies) == 1

        await eventually(connected, "the proxy is connected")
        then: dict[int, dict[tuple[str, str], str]] = {}
        while len(then) < REVISIONS:
            if then and chance.random() < 0.3:
                found = await api.ask("GET", "documents?limit=100")
                held = [
                    {"kind": each["kind"], "namespace": "default", "name": each["metadata"]["name"]}
                    for each in found["items"]
                    if each["kind"] not in {"Service", "Workload"}
                ]
                body = {"delete": [chance.choice(held)]}
            else:
                body = a_write(chance)
            answer = await api.ask("POST", "batch", body)
            if answer["revision"] not in then:
                await api.acknowledged(answer["revision"])
                then[answer["revision"]] = await api.resources()
        assert len({json.dumps(sorted(map(str, each.items()))) for each in then.values()}) > REVISIONS // 2
        for number in chance.sample(sorted(then), back):
            answer = await api.ask("POST", "rollback", {"to": number, "reason": "back"})
            await api.acknowledged(answer["revision"])
            assert await api.resources() == then[number], f"revision {number}"
