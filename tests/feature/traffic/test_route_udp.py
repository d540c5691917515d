"""UDPRoute: shares of datagrams, through a gateway and through explicit local ports, to applications that know nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.statistics import within
from tests.support.traffic.udp_side import Echo, client, echoes, who_answers
from tests.support.traffic.world import Traffic, World

N = 300


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def servers(world: World) -> AsyncIterator[dict[str, Echo]]:
    async with echoes(first=world.ports.take(), second=world.ports.take()) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World, servers: dict[str, Echo]) -> AsyncIterator[Outside]:
    """A gateway with two ports of UDP, of which one takes routes of every namespace; and two services of one server each."""
    ports = {name: world.ports.take() for name in ("dns", "open")}
    listeners = f"""
  - {{name: dns, port: {ports["dns"]}, protocol: UDP}}
  - {{name: open, port: {ports["open"]}, protocol: UDP, allowedRoutes: {{namespaces: {{from: All}}}}}}
"""
    text = documents("datagrams", listeners) + "".join(
        service(name, each.port) for name, each in servers.items()
    )
    async with gateway(world, "datagrams", text, ports, PublicAuthority()) as made:
        yield made


def service(name: str, port: int, namespace: str = "default") -> str:
    """A service of UDP at port 53, which is served at `port` of this host."""
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{name: dns, port: 53, protocol: udp}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: {name}-1, namespace: {namespace}}}
spec: {{services: [{name}], address: 127.0.0.1, ports: [{{name: dns, app: {port}}}]}}
"""


def route(
    *shares: tuple[str, int],
    name: str = "r",
    parent: str = "name: datagrams, sectionName: dns",
    namespace: str = "default",
    created: str = "2026-01-01",
) -> str:
    backends = ", ".join(f"{{name: {each}, port: 53, weight: {weight}}}" for each, weight in shares)
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}T00:00:00Z"}}
spec: {{parentRefs: [{{{parent}}}], rules: [{{backendRefs: [{backends}]}}]}}
"""


async def reasons(traffic: Traffic, name: str) -> list[tuple[str, bool, str]]:
    (found,) = (each for each in (await traffic.mesh.status()).routes if each.route.endswith(f"/{name}"))
    return [(each.type, each.status, each.reason) for each in found.conditions]


async def test_datagrams_are_shared_out_by_weight(traffic: Traffic, outside: Outside) -> None:
    port = outside.ports["dns"]
    async with traffic.apply(route(("first", 3), ("second", 1))) as file:
        found = await who_answers(port, N)
        assert found[""] == 0, found
        assert within(0.25, N, found["second"]), found
        await file.replace(route(("first", 0), ("second", 1)))
        assert await who_answers(port, 20) == {"second": 20}
    assert await who_answers(port, 3) == {"": 3}


async def test_a_client_stays_with_its_backend(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(route(("first", 1), ("second", 1))):
        for _ in range(5):
            async with client(outside.ports["dns"]) as one:
                answers = [await one.ask(b"%d" % each) for each in range(10)]
            assert len({each.partition(b" ")[0] for each in answers}) == 1
            assert [each.partition(b" ")[2] for each in answers] == [b"%d" % each for each in range(10)]


async def test_the_share_of_a_backend_that_is_not_there_is_dropped(
    traffic: Traffic, outside: Outside
) -> None:
    port = outside.ports["dns"]
    async with traffic.apply(route(("first", 1), ("missing", 1))) as file:
        found = await who_answers(port, N)
        assert set(found) == {"first", ""}
        assert within(0.5, N, found[""]), found
        assert await reasons(traffic, "r") == [
            ("Accepted", True, "Accepted"),
            ("ResolvedRefs", False, "BackendNotFound"),
        ]
        await file.replace(route(("api", 1)).replace("port: 53", "port: 80"))
        assert await who_answers(port, 3) == {"": 3}
        assert (await reasons(traffic, "r"))[1] == ("ResolvedRefs", False, "UnsupportedProtocol")


async def test_a_change_of_shares_loses_what_is_on_its_way_and_no_more(
    traffic: Traffic, outside: Outside
) -> None:
    """Envoy ends the sessions of a UDP listener that changes. The next datagram begins a new one."""
    answers: list[bytes] = []
    done = asyncio.Event()
    clients, changes = 8, (2, 0, 3, 0, 5)

    async def keep_asking() -> None:
        async with client(outside.ports["dns"]) as one:
            while not done.is_set():
                answers.append(await one.ask())
            assert await one.ask(), "it goes on"

    async with traffic.apply(route(("first", 1), ("second", 1))) as file, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(keep_asking())
        try:
            for weight in changes:
                await file.replace(route(("first", 1), ("second", weight)))
        finally:
            done.set()
    assert len(answers) > 500
    assert answers.count(b"") <= clients * len(changes), f"{answers.count(b'')} of {len(answers)} were lost"


async def test_large_datagrams_pass(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(route(("first", 1))), client(outside.ports["dns"]) as one:
        for size in (1, 1400, 9000, 40_000):
            assert await one.ask(b"x" * size) == b"first " + b"x" * size


async def test_a_circuit_breaker_bounds_sessions(traffic: Traffic, outside: Outside) -> None:
    breaker = """
---
apiVersion: meshwright.dev/v1alpha1
kind: CircuitBreaker
metadata: {name: few}
spec: {targetRefs: [{kind: Service, name: second}], connections: 3}
"""
    async with traffic.apply(route(("second", 1)) + breaker):
        assert await who_answers(outside.ports["dns"], 10) == {"second": 3, "": 7}


async def test_of_two_routes_the_older_is_followed(traffic: Traffic, outside: Outside) -> None:
    text = route(("first", 1), name="young", created="2026-02-01") + route(("second", 1), name="old")
    async with traffic.apply(text):
        assert await who_answers(outside.ports["dns"], 10) == {"second": 10}
        for name in ("young", "old"):
            assert (await reasons(traffic, name))[0] == ("Accepted", True, "Accepted")
        (told,) = (
            each for each in (await traffic.mesh.status()).gateways if each.gateway == "default/datagrams"
        )
        assert told.attached_routes == {"dns": 2, "open": 0}


async def test_routes_and_backends_of_another_namespace(traffic: Traffic, outside: Outside) -> None:
    far = route(("first", 1), name="far", parent="name: datagrams, namespace: default", namespace="other")
    far = far.replace("{name: first, ", "{name: first, namespace: default, ")
    grant = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: datagrams}
spec:
  from: [{group: gateway.networking.k8s.io, kind: UDPRoute, namespace: other}]
  to: [{group: "", kind: Service, name: first}]
"""
    async with traffic.apply(far) as file:
        assert await who_answers(outside.ports["open"], 3) == {"": 3}
        assert (await reasons(traffic, "far"))[1] == ("ResolvedRefs", False, "RefNotPermitted")
        await file.replace(far + grant)
        assert await who_answers(outside.ports["open"], 3) == {"first": 3}
        assert await who_answers(outside.ports["dns"], 3) == {"": 3}, "it takes its own namespace's alone"


async def test_a_local_port_of_a_sidecar_leads_to_the_service_as_its_routes_say(
    traffic: Traffic, outside: Outside
) -> None:
    del outside  # whose file declares the services
    ports = traffic.world.ports
    local = ports.take()
    caller = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: asks-1}}
spec:
  address: 127.0.0.1
  meshed: true
  outboundPort: {ports.take()}
  uses: [{{service: first, localPort: {local}}}]
"""
    split = route(("first", 1), ("second", 1), parent='group: "", kind: Service, name: first')
    async with traffic.apply(caller) as file, traffic.proxy("asks-1", "asks-1"):
        assert await who_answers(local, 5) == {"first": 5}
        await file.replace(caller + split)
        found = await who_answers(local, N)
        assert within(0.5, N, found["second"]), found
        assert found["first"] + found["second"] == N
