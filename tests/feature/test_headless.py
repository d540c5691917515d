"""A call to the address of an instance of a headless service: mutual TLS, to that instance, which proves to be itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.feature.test_interception_mesh import GREETS, STAYS
from tests.support.headless_world import IMPOSTOR, PLAIN, SECOND, STRANGER, Headless, headless_mesh
from tests.support.intercepted import get
from tests.support.intercepting import APP, ENVOY
from tests.support.mesh import a_document
from tests.support.namespaces import NEEDS_ROOT, is_root
from tests.support.processes import eventually

pytestmark = [
    pytest.mark.skipif(not is_root(), reason=NEEDS_ROOT),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headless]:
    async with headless_mesh(tmp_path_factory.mktemp("headless")) as made:
        yield made


async def test_http_goes_to_the_very_instance_that_was_called_by_mutual_tls(world: Headless) -> None:
    a = world.mesh.a
    for address in (world.first, SECOND) * 2:
        status, said = await get(a, f"http://{address}:8080/items")
        assert (status, said["here"], said["peer"]) == (200, address, "127.0.0.6"), said
        assert "URI=spiffe://mesh.local/ns/default/sa/web" in said["xfcc"]
    # So does a call by a name that leads there, whatever the name.
    for name in ("db", "db-1.db.default.svc.cluster.local"):
        status, said = await get(a, f"http://{name}:8080/", "--connect-to", f"::{SECOND}:8080")
        assert (status, said["here"]) == (200, SECOND), said
    # The port takes mutual TLS and nothing else.
    assert (await get(a, f"http://{SECOND}:8080/", user=ENVOY))[0] == 0


async def test_tcp_too_and_the_server_may_speak_first(world: Headless) -> None:
    for address in (world.first, SECOND):
        said = await asyncio.to_thread(
            world.mesh.a.run, sys.executable, "-c", GREETS, address, "9000", "5", user=APP
        )
        assert said == "hello 127.0.0.6\n"


async def test_an_instance_must_prove_the_very_account_that_the_registry_says(world: Headless) -> None:
    """Another account of the same service is not enough."""
    a = world.mesh.a
    status, said = await get(a, f"http://{IMPOSTOR}:8080/items")
    assert status == 503, said
    ran = await asyncio.to_thread(a.attempt, sys.executable, "-c", GREETS, IMPOSTOR, "9000", "5", user=APP)
    assert "hello" not in ran.stdout


async def test_an_instance_without_a_sidecar_is_called_as_ever(world: Headless) -> None:
    status, said = await get(world.mesh.a, f"http://{PLAIN}:{STRANGER}/")
    assert (status, said["here"], said["peer"], said["xfcc"]) == (200, PLAIN, world.mesh.a.ipv4, None), said


async def test_an_instance_that_goes_or_comes_cuts_no_connection_to_another(world: Headless) -> None:
    a = world.mesh.a
    command = a.command(sys.executable, "-c", STAYS, world.first, "9000", user=APP)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"hello 127.0.0.6\n"
        world.instances("db-0")

        async def gone() -> bool:
            # It goes in plaintext, which is refused.
            return (await get(a, f"http://{SECOND}:8080/"))[0] == 0

        await eventually(gone, "db-1 is no instance any more")
        process.stdin.write(b"still here\n")
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"still here\n"
        world.instances("db-0", "db-1", "db-2", "db-3")

        async def back() -> bool:
            return (await get(a, f"http://{SECOND}:8080/"))[0] == 200

        await eventually(back, "db-1 is an instance again")
        process.stdin.write(b"and here\n")
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"and here\n"
        for proxy in (await world.mesh.status()).proxies:
            assert [each.refused for each in proxy.types if each.refused] == []
    finally:
        process.stdin.close()
        await process.wait()


async def test_policies_of_the_service_hold_and_so_do_its_routes_for_calls_by_its_name(
    world: Headless,
) -> None:
    mesh = world.mesh
    ref = {"targetRefs": [{"kind": "Service", "name": "db"}]}
    rules = [{"to": [{"paths": ["/secret"]}]}]
    mesh.write(
        "policies.yaml",
        a_document("AccessPolicy", "db", {**ref, "action": "deny", "rules": rules}),
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "db"},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": "db"}],
                "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
            },
        },
    )

    async def refused() -> bool:
        return (await get(mesh.a, f"http://{SECOND}:8080/secret"))[0] == 403

    await eventually(refused, "the callee refuses what its policy says")

    async def routed() -> bool:
        status, said = await get(mesh.a, "http://db:8080/", "--connect-to", f"::{SECOND}:8080")
        return status == 200 and said["here"] == mesh.a.ipv4

    await eventually(routed, "who says the service's name is sent where its route says")
    status, said = await get(mesh.a, f"http://{SECOND}:8080/")
    assert (status, said["here"]) == (200, SECOND), "who calls the instance is sent to it"
