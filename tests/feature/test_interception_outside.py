"""What applications of an intercepted host reach beyond the mesh: as ever, by a name of the mesh's own, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.intercepted import ADMIN, Mesh, get
from tests.support.intercepted_world import intercepted_mesh
from tests.support.intercepting import APP
from tests.support.mesh import a_document
from tests.support.namespaces import NEEDS_ROOT, Host, is_root
from tests.support.processes import eventually

pytestmark = [
    pytest.mark.skipif(not is_root(), reason=NEEDS_ROOT),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with intercepted_mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


async def passed_on(host: Host) -> int:
    """How many connections its sidecar has passed on to where they were going."""
    url = f"http://127.0.0.1:{ADMIN}/stats?filter=^tcp.passthrough.downstream_cx_total$"
    _, said = await get(host, url)
    return int(said.rpartition(":")[2])


async def test_what_is_not_of_the_mesh_is_reached_as_ever(mesh: Mesh) -> None:
    a, b = mesh.a, mesh.b
    before = await passed_on(a)
    for url in (f"http://{b.ipv4}:8081/", "http://outside.example:8081/"):
        status, said = await get(a, url)
        assert (status, said["peer"], said["xfcc"]) == (200, a.ipv4, None), said
    # By IPv6, too: of that, the mesh has no addresses of its own.
    status, said = await get(a, f"http://[{b.ipv6}]:8082/")
    assert (status, said) == (200, {"peer": a.ipv6, "here": b.ipv6})
    assert await passed_on(a) == before + 3, "they went through the sidecar"
    ran = a.attempt("curl", "--silent", "--max-time", "5", "http://nowhere.example/", user=APP)
    assert ran.returncode == 6, "the name is unknown, and said to be"
    # Who says a host name of the mesh to the sidecar itself is understood.
    status, said = await get(a, "http://127.0.0.1:15001/", "--header", "Host: api.mesh")
    assert status == 200, said
    assert "/sa/web" in said["xfcc"]


async def test_a_service_outside_is_called_by_its_own_name(mesh: Mesh) -> None:
    outside = {"hosts": ["outside.example"], "ports": [{"name": "http", "port": 8081, "protocol": "http"}]}
    mesh.write("outside.yaml", a_document("ExternalService", "outside", outside))

    async def taken() -> bool:
        found = await asyncio.to_thread(mesh.a.attempt, "getent", "ahostsv4", "outside.example", user=APP)
        return found.stdout.startswith(("24", "25"))

    await eventually(taken, "its name leads to its virtual address")

    async def answered() -> Any:
        status, said = await get(mesh.a, "http://outside.example:8081/")
        return said if status == 200 else None

    said = await eventually(answered, "it answers")
    # Not the application's own user and address, but its sidecar's: nobody outside sees a difference.
    assert (said["peer"], said["host"], said["xfcc"]) == (mesh.a.ipv4, "outside.example:8081", None)


async def test_what_nobody_knows_is_refused_where_a_policy_says_so(mesh: Mesh) -> None:
    policy = {"targetRefs": [{"kind": "Workload", "name": "web-1"}], "unknown": "registryOnly"}
    mesh.write("egress.yaml", a_document("EgressPolicy", "known-only", policy))

    async def refused() -> bool:
        return (await get(mesh.a, f"http://{mesh.b.ipv4}:8081/"))[0] == 0

    await eventually(refused, "connections to unknown addresses are closed")
    assert (await get(mesh.a, "http://api.mesh/"))[0] == 200
    mesh.write("egress.yaml")

    async def passed() -> bool:
        return (await get(mesh.a, f"http://{mesh.b.ipv4}:8081/"))[0] == 200

    await eventually(passed, "they are passed on again")
