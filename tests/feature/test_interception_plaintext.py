"""MeshTLS where traffic is intercepted: plaintext beside mutual TLS on the application's own port, and who is known to speak it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from meshwright.client import get_plaintext
from tests.feature.test_interception_mesh import GREETS
from tests.support.intercepted import Mesh, get
from tests.support.intercepted_world import intercepted_mesh
from tests.support.intercepting import ENVOY
from tests.support.mesh import a_document
from tests.support.namespaces import NEEDS_ROOT, is_root
from tests.support.processes import eventually

pytestmark = [
    pytest.mark.skipif(not is_root(), reason=NEEDS_ROOT),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with intercepted_mesh(tmp_path_factory.mktemp("plaintext")) as made:
        yield made


def write(mesh: Mesh, mode: str) -> None:
    spec = {"targetRefs": [{"kind": "Service", "name": "api"}], "mode": mode}
    mesh.write("mesh-tls.yaml", a_document("MeshTLS", "api", spec))


async def test_a_port_takes_both_and_the_caller_in_plaintext_is_known_by_its_address(mesh: Mesh) -> None:
    a, b = mesh.a, mesh.b
    # The sidecar's own user is not intercepted: to host b, it is anybody.
    assert (await get(a, f"http://{b.ipv4}:8080/items", user=ENVOY))[0] == 403
    write(mesh, "permissive")

    async def taken() -> bool:
        status, said = await get(a, f"http://{b.ipv4}:8080/items", user=ENVOY)
        return status == 200 and said["xfcc"] is None

    await eventually(taken, "plaintext is taken")
    assert (await get(a, f"http://{b.ipv4}:8080/healthz", user=ENVOY))[0] == 200
    status, said = await get(a, "http://api.mesh/items")
    assert status == 200
    assert "URI=spiffe://mesh.local/ns/default/sa/web" in said["xfcc"]
    ran = a.attempt(sys.executable, "-c", GREETS, b.ipv4, "9000", "2", user=ENVOY)
    assert "hello" not in ran.stdout, "the other port is strict"

    async def known() -> bool:
        calls = (await get_plaintext(mesh.data)).calls
        return {(each.service, each.port, each.caller, each.workloads) for each in calls} == {
            ("default/api", 80, a.ipv4, ("default/web-1",))
        }

    await eventually(known, "the report names the workload that calls")


async def test_what_is_off_is_called_in_plaintext(mesh: Mesh) -> None:
    write(mesh, "off")

    async def unknown() -> bool:
        # Several at once, for connections that are open go on as they are.
        answers = await asyncio.gather(*(get(mesh.a, "http://api.mesh/items") for _ in range(4)))
        assert {status for status, _ in answers} == {200}, answers
        return any(said["xfcc"] is None for _, said in answers)

    await eventually(unknown, "a new connection of the caller is plaintext")
    write(mesh, "strict")

    async def refused() -> bool:
        return (await get(mesh.a, f"http://{mesh.b.ipv4}:8080/items", user=ENVOY))[0] == 403

    await eventually(refused, "plaintext is refused again")

    async def mutual() -> bool:
        status, said = await get(mesh.a, "http://api.mesh/items")
        assert status == 200, said
        return "/sa/web" in (said["xfcc"] or "")

    await eventually(mutual, "the caller's connections in plaintext are drained")
