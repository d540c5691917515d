"""A mesh whose applications know nothing of it: names, virtual addresses, mutual TLS both ways, and out again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from tests.support.intercepted import ADMIN, GREETER, PASSED, WEB, Mesh, get, program, resolver
from tests.support.intercepting import APP, ENVOY, application
from tests.support.mesh import a_document
from tests.support.namespaces import NEEDS_ROOT, Host, is_root, two_hosts
from tests.support.processes import eventually

pytestmark = [
    pytest.mark.skipif(not is_root(), reason=NEEDS_ROOT),
    pytest.mark.asyncio(loop_scope="module"),
]

GREETS = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as made:
    print(made.recv(100).decode(), end="")
"""
"""Connects, and waits for the other side to speak."""

STAYS = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as made:
    print(made.recv(100).decode(), end="", flush=True)
    for line in sys.stdin:
        made.sendall(line.encode())
        print(made.recv(100).decode(), end="", flush=True)
"""


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


HTTP = {"name": "http", "port": 80, "protocol": "http"}
RAW = {"name": "raw", "port": 9000, "protocol": "tcp"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """On host a `web`, on host b `api`, which also greets on port 9000, and something that is not of the mesh on 8081."""
    tmp_path = tmp_path_factory.mktemp("mesh")
    with two_hosts("10.77.0.2") as (a, b):
        made = Mesh(tmp_path, a, b)
        made.write(
            "mesh.yaml",
            a_service("web", HTTP),
            a_service("api", HTTP),
            a_service("greeter", RAW),
            a_workload("web-1", a, {"http": 8080}),
            a_workload(
                "api-1", b, {"http": 8080, "raw": 9000}, healthChecks=[{"port": 8080, "path": "/healthz"}]
            ),
        )
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            await enter(made.serving())
            await enter(program(tmp_path, "web", a, WEB, 8080))
            await enter(program(tmp_path, "api", b, WEB, 8080))
            await enter(program(tmp_path, "greeter", b, GREETER, 9000))
            await enter(program(tmp_path, "stranger", b, WEB, 8081))
            await enter(application(tmp_path, b, 8082))
            await enter(resolver(tmp_path, b))
            await enter(made.sidecar(a, "web-1", "web"))
            await enter(made.sidecar(b, "api-1", "api"))
            # Last of all, so that connections which are open already have to survive it.
            intercept(made)
            yield made


def intercept(mesh: Mesh) -> None:
    mesh.a.meshwright("intercept", "--proxy-user", str(ENVOY), "--dns")
    mesh.b.meshwright(
        *("intercept", "--proxy-user", str(ENVOY), "--dns", *PASSED, "--exclude-inbound-port", "8081"),
        *("--exclude-inbound-port", "8082"),
    )


async def passed_on(host: Host) -> int:
    """How many connections its sidecar has passed on to where they were going."""
    url = f"http://127.0.0.1:{ADMIN}/stats?filter=^tcp.passthrough.downstream_cx_total$"
    _, said = await get(host, url)
    return int(said.rpartition(":")[2])


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
    assert mesh.a.run(sys.executable, "-c", GREETS, "greeter.mesh", "9000", user=APP) == "hello 127.0.0.6\n"


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
    ran = a.attempt(sys.executable, "-c", GREETS, b.ipv4, "9000", user=ENVOY)
    assert "hello" not in ran.stdout
    status, _ = await get(a, f"http://{b.ipv4}:15006/", user=ENVOY)
    assert status == 0


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


async def test_interception_ends_cleanly(mesh: Mesh) -> None:
    a, b = mesh.a, mesh.b
    for host in (a, b):
        host.meshwright("intercept", "--remove")
        assert "MESHWRIGHT" not in host.run("iptables-save") + host.run("ip6tables-save")
    status, said = await get(a, f"http://{b.ipv4}:8080/")
    assert (status, said["peer"], said["xfcc"]) == (200, a.ipv4, None)
    intercept(mesh)
    status, said = await get(a, "http://api.mesh/")
    assert (status, said["peer"]) == (200, "127.0.0.6")
