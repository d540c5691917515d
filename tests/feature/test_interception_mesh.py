"""A mesh whose applications know nothing of it: names, virtual addresses, and mutual TLS both ways.

`test_interception_outside.py` has what lies beyond the mesh.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.intercepted import Mesh, get
from tests.support.intercepted_world import HTTP, a_service, intercept, intercepted_mesh
from tests.support.intercepting import APP, ENVOY
from tests.support.namespaces import NEEDS_ROOT, is_root
from tests.support.processes import eventually

pytestmark = [
    pytest.mark.skipif(not is_root(), reason=NEEDS_ROOT),
    pytest.mark.asyncio(loop_scope="module"),
]

GREETS = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as made:
    print(made.recv(100).decode(), end="")
"""
"""Connects, and waits so many seconds for the other side to speak."""

STAYS = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as made:
    print(made.recv(100).decode(), end="", flush=True)
    for line in sys.stdin:
        made.sendall(line.encode())
        print(made.recv(100).decode(), end="", flush=True)
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with intercepted_mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


async def test_two_hosts_that_know_nothing_speak_mutual_tls(mesh: Mesh) -> None:
    a, b = mesh.a, mesh.b
    for name in ("api.mesh", "api", "api.default", "api.default.mesh"):
        status, said = await get(a, f"http://{name}/items")
        assert (status, said["path"], said["host"]) == (200, "/items", name), said
        assert (said["peer"], said["here"]) == ("127.0.0.6", b.ipv4)
        assert "URI=spiffe://mesh.local/ns/default/sa/web" in said["xfcc"]
    status, said = await get(b, "http://web.mesh/")
    assert (status, said["here"]) == (200, a.ipv4)
    assert "URI=spiffe://mesh.local/ns/default/sa/api" in said["xfcc"]
    # A host calls the service that it serves itself: by mutual TLS, too.
    status, said = await get(a, "http://web.mesh/")
    assert status == 200, said
    assert "/sa/web" in said["xfcc"]


async def test_a_server_may_speak_first(mesh: Mesh) -> None:
    assert (
        mesh.a.run(sys.executable, "-c", GREETS, "greeter.mesh", "9000", "5", user=APP) == "hello 127.0.0.6\n"
    )


async def test_plaintext_is_for_declared_health_checks_only(mesh: Mesh) -> None:
    a, b = mesh.a, mesh.b
    # The sidecar's own user is not intercepted: to host b, it is anybody.
    status, said = await get(a, f"http://{b.ipv4}:8080/healthz?verbose", user=ENVOY)
    assert (status, said["path"], said["xfcc"]) == (200, "/healthz?verbose", None), said
    status, said = await get(a, f"http://{b.ipv4}:8080/items", user=ENVOY)
    assert status == 403, said
    assert "health checks" in said
    status, said = await get(a, f"http://{b.ipv4}:8080/healthz/../items", "--path-as-is", user=ENVOY)
    assert status == 403, said
    ran = a.attempt(sys.executable, "-c", GREETS, b.ipv4, "9000", "2", user=ENVOY)
    assert "hello" not in ran.stdout
    status, _ = await get(a, f"http://{b.ipv4}:15006/", user=ENVOY)
    assert status == 0


async def test_a_new_service_has_a_name_and_disturbs_no_connection(mesh: Mesh) -> None:
    command = mesh.a.command(sys.executable, "-c", STAYS, "greeter.mesh", "9000", user=APP)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"hello 127.0.0.6\n"
        mesh.write("later.yaml", a_service("later", HTTP, address="240.7.7.7"))

        async def named() -> bool:
            found = await asyncio.to_thread(mesh.a.attempt, "getent", "ahostsv4", "later.mesh", user=APP)
            return "240.7.7.7" in found.stdout

        await eventually(named, "the new service has a name")
        process.stdin.write(b"still here\n")
        assert await asyncio.wait_for(process.stdout.readline(), 5) == b"still here\n"
        # All proxies took what they were sent.
        for proxy in (await mesh.status()).proxies:
            assert [each.refused for each in proxy.types if each.refused] == []
    finally:
        process.stdin.close()
        await process.wait()


async def test_nobody_outside_calls_in_the_name_of_a_host_whose_address_stands_for_a_service(
    mesh: Mesh,
) -> None:
    """Host b's address as the virtual address of a service of the mesh: a's."""
    trap = a_service("trap", {"name": "http", "port": 8083, "protocol": "http"}, address=mesh.b.ipv4)
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "trap"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "trap"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        },
    }
    mesh.write("trap.yaml", trap, route)

    async def listens() -> bool:
        status, said = await get(mesh.a, "http://trap.mesh:8083/")
        return status == 200 and "/sa/web" in said["xfcc"]

    await eventually(listens, "the service is called from inside")
    # Host b has that listener as well; what comes in from outside is not for it.
    status, said = await get(mesh.a, f"http://{mesh.b.ipv4}:8083/", user=ENVOY)
    assert status == 0, said


async def test_a_port_that_a_service_lacks_is_closed_at_once(mesh: Mesh) -> None:
    began = time.monotonic()
    status, _ = await get(mesh.a, "http://api.mesh:81/")
    assert status == 0
    assert time.monotonic() - began < 3


async def test_interception_ends_cleanly(mesh: Mesh) -> None:
    a, b = mesh.a, mesh.b
    for host in (a, b):
        host.meshwright("intercept", "--remove")
        assert "MESHWRIGHT" not in host.run("iptables-save") + host.run("ip6tables-save")
    status, said = await get(a, f"http://{b.ipv4}:8080/")
    assert (status, said["peer"], said["xfcc"]) == (200, a.ipv4, None)
    await intercept(mesh)
    status, said = await get(a, "http://api.mesh/")
    assert (status, said["peer"]) == (200, "127.0.0.6")
