"""Real Envoys on the xDS server alone, in both protocols: what they refuse, what they keep, what they are not sent twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from envoy import connection
from envoy.bootstrap import BootstrapInput, render
from envoy.launcher import EnvoyProcess, LaunchOptions
from envoy.packing import from_ads, listen_on
from envoy.reported import runtime
from envoy.seams import NOTHING
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from tests.support import binaries
from tests.support.envoy_static import application
from tests.support.mesh import Mesh
from tests.support.ports import free_ports
from tests.support.processes import eventually
from tests.support.xds_streams import MESSAGES, Served, resource, served
from xds.resource import Resource
from xds.status import TypeStatus
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, SCOPED_ROUTE

PROTOCOLS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
TEN = range(10)


def a_cluster(name: str, *, timeout: float = 5.0, address: str | None = None) -> Resource:
    """Of type EDS; with `address`, STATIC: then it has to be an IP address, which no field constraint says."""
    made = Cluster(name=name, type=Cluster.EDS if address is None else Cluster.STATIC)
    made.connect_timeout.FromMilliseconds(int(timeout * 1000))
    if address is None:
        from_ads(made.eds_cluster_config.eds_config)
    else:
        made.load_assignment.CopyFrom(assignment(name, 80, address))
    return resource(made, origin=(f"clusters/{name}.yaml",))


def assignment(name: str, port: int, address: str = "127.0.0.1") -> ClusterLoadAssignment:
    made = ClusterLoadAssignment(cluster_name=name)
    listen_on(made.endpoints.add().lb_endpoints.add().endpoint.address, address, port)
    return made


def endpoints(name: str, port: int, address: str = "127.0.0.1") -> Resource:
    return resource(assignment(name, port, address), origin=(f"endpoints/{name}.yaml",))


def a_route(name: str, cluster: str, *, domains: tuple[str, ...] = ("*",), prefix: str = "/") -> Resource:
    made = RouteConfiguration(name=name)
    made.validate_clusters.value = False
    host = made.virtual_hosts.add(name=name, domains=domains)
    route = host.routes.add()
    route.match.prefix = prefix
    route.route.cluster = cluster
    return resource(made, origin=(f"routes/{name}.yaml",))


def a_scope(host: str, route: str) -> Resource:
    made = ScopedRouteConfiguration(name=host, route_configuration_name=route)
    made.key.fragments.add().string_key = host
    return resource(made)


def by_host(port: int) -> Resource:
    """The listener of the mesh's own rendering: one port, a scope for each host."""
    made = Listener(name="outbound")
    listen_on(made.address, "127.0.0.1", port)
    connection.http_chain(made.filter_chains.add(), connection.by_host_name(NOTHING, ()))
    return resource(made)


def by_route(name: str, port: int, route: str, address: str = "127.0.0.1") -> Resource:
    made = Listener(name=name)
    listen_on(made.address, address, port)
    connection.http_chain(made.filter_chains.add(), connection.to_route(name, route, NOTHING, ()))
    return resource(made, origin=(f"listeners/{name}.yaml",))


@contextlib.asynccontextmanager
async def envoy(folder: Path, port: int, *, delta: bool) -> AsyncIterator[EnvoyProcess]:
    name = "delta" if delta else "sotw"
    path = folder / f"{name}.json"
    path.write_text(render(BootstrapInput(name, "test", "127.0.0.1", port, delta=delta)))
    options = LaunchOptions(
        Path(binaries.envoy()), path, log=folder / f"{name}.log", concurrency=1, drain_time=1
    )
    process = await EnvoyProcess.start(options)
    try:
        await process.wait_ready(30)
        yield process
    finally:
        await process.stop()


def state(server: Served, type_url: str) -> TypeStatus:
    """What the server knows of its one client."""
    (client,) = server.xds.clients()
    (found,) = (each for each in client.types if each.type_url == type_url)
    return found


async def until(question: Callable[[], bool | Awaitable[bool]], what: str, patience: float = 20.0) -> None:
    async def ask() -> bool:
        answer = question()
        return answer if isinstance(answer, bool) else await answer

    await eventually(ask, what, patience=patience)


async def names(process: EnvoyProcess, kind: str) -> set[str]:
    """The names of what Envoy uses: of its `clusters`, `listeners`, `routes`, `scopes` or `endpoints`."""
    return set(await contents(process, kind))


async def contents(process: EnvoyProcess, kind: str) -> dict[str, Any]:
    """What Envoy uses, by name, without what is its own: when it came, and in which version of the whole."""
    dump = await process.admin.config_dump(endpoints=True)
    found: dict[str, Any] = {}
    for part in dump["configs"]:
        if kind == "clusters":
            found |= {
                each["cluster"]["name"]: each["cluster"] for each in part.get("dynamic_active_clusters", ())
            }
        elif kind == "listeners":
            found |= {
                each["name"]: each["active_state"]["listener"]
                for each in part.get("dynamic_listeners", ())
                if "active_state" in each
            }
        elif kind == "routes":
            found |= {
                each["route_config"]["name"]: each["route_config"]
                for each in part.get("dynamic_route_configs", ())
            }
        elif kind == "scopes":
            found |= {
                scope["name"]: scope
                for each in part.get("dynamic_scoped_route_configs", ())
                for scope in each.get("scoped_route_configs", ())
            }
        elif kind == "endpoints":
            found |= {
                each["endpoint_config"]["cluster_name"]: each["endpoint_config"]
                for each in part.get("dynamic_endpoint_configs", ())
            }
    return found


KINDS = ("clusters", "listeners", "routes", "scopes", "endpoints")


async def test_both_protocols_lead_to_the_same_configuration(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    listener = by_route("l", port, "r0")
    made = [
        each for n in TEN for each in (a_cluster(f"c{n}"), endpoints(f"c{n}", 80), a_route(f"r{n}", f"c{n}"))
    ]
    scopes = [a_scope(f"host{n}", f"r{n}") for n in TEN]
    async with (
        served(*made, *scopes, listener, by_host(free_ports(1)[0])) as server,
        envoy(tmp_path, server.port, delta=False) as sotw,
        # Both on the same ports: Envoy's listeners share them.
        envoy(tmp_path, server.port, delta=True) as delta,
    ):

        async def same(expected: dict[str, set[str]]) -> None:
            async def equal() -> bool:
                for kind in KINDS:
                    one, other = await contents(sotw, kind), await contents(delta, kind)
                    assert one == other, kind
                    assert set(one) == expected[kind], kind
                return True

            await until(equal, "both have the same")

        every = {f"c{n}" for n in TEN}
        await same(
            {
                "clusters": every,
                "endpoints": every,
                "listeners": {"l", "outbound"},
                "routes": {f"r{n}" for n in TEN},
                "scopes": {f"host{n}" for n in TEN},
            }
        )
        server.publish(
            a_cluster("c1", timeout=3),
            endpoints("c2", 8080),
            a_route("r3", "c1"),
            a_cluster("new"),
            endpoints("new", 1),
            a_route("new", "new"),
            a_scope("new", "new"),
            removed=[
                (CLUSTER, "c9"),
                (ENDPOINT, "c9"),
                (ROUTE, "r9"),
                (SCOPED_ROUTE, "host9"),
                (LISTENER, "l"),
            ],
        )
        every = every - {"c9"} | {"new"}
        await same(
            {
                "clusters": every,
                "endpoints": every,
                "listeners": {"outbound"},
                "routes": {f"r{n}" for n in range(9)} | {"new"},
                "scopes": {f"host{n}" for n in range(9)} | {"new"},
            }
        )
        assert all(kind.refusal is None for client in server.xds.clients() for kind in client.types)


@PROTOCOLS
async def test_requests_pass_and_follow_their_endpoints(tmp_path: Path, delta: bool) -> None:
    first, second, port = free_ports(3)
    async with (
        application(first, "first"),
        application(second, "second"),
        served(
            a_cluster("c"), endpoints("c", first), a_route("r", "c"), a_scope("api", "r"), by_host(port)
        ) as server,
        envoy(tmp_path, server.port, delta=delta),
    ):

        async def answers(name: str) -> bool:
            status, text = await Mesh.get(f"http://127.0.0.1:{port}/", headers={"Host": "api"})
            return status == 200 and f'"{name}"' in text

        await until(lambda: answers("first"), "the first answers")
        server.publish(endpoints("c", second))
        await until(lambda: answers("second"), "the second answers")


@PROTOCOLS
async def test_a_changed_cluster_with_equal_endpoints_is_taken_at_once(
    tmp_path: Path,
    delta: bool,
) -> None:
    async with (
        served(a_cluster("c"), endpoints("c", 80)) as server,
        envoy(tmp_path, server.port, delta=delta) as process,
    ):
        await until(lambda: state(server, ENDPOINT).in_sync, "Envoy has its first configuration")
        for timeout in (1.0, 2.0, 3.0):
            began = time.monotonic()
            server.publish(a_cluster("c", timeout=timeout))

            async def used(seconds: float = timeout) -> bool:
                return bool((await contents(process, "clusters"))["c"]["connect_timeout"] == f"{seconds:g}s")

            await until(used, "the changed cluster is used")
            await until(lambda: state(server, CLUSTER).in_sync, "and acknowledged")
            assert time.monotonic() - began < 5  # Envoy itself would wait 15 s for endpoints that do not come


Broken = tuple[str, Callable[[str], Resource], Callable[[str], Resource], str]
"""What is wrong: the type, a good resource, a bad one of the same name, and the kind of Envoy's dump."""

BROKEN: dict[str, Broken] = {
    "cluster-meaning": (
        CLUSTER,
        lambda name: a_cluster(name, address="127.0.0.1"),
        lambda name: a_cluster(name, address="not-an-address"),
        "clusters",
    ),
    "cluster-constraint": (
        CLUSTER,
        lambda name: a_cluster(name, address="127.0.0.1"),
        lambda name: a_cluster(name, address="127.0.0.1", timeout=0),
        "clusters",
    ),
    "endpoints-meaning": (
        ENDPOINT,
        lambda name: endpoints(name, 80),
        lambda name: endpoints(name, 80, "not-an-address"),
        "endpoints",
    ),
    "route-meaning": (
        ROUTE,
        lambda name: a_route(name, "c0"),
        lambda name: a_route(name, "c0", domains=("same.example", "same.example")),
        "routes",
    ),
    "route-constraint": (
        ROUTE,
        lambda name: a_route(name, "c0"),
        lambda name: a_route(name, "c0", domains=()),
        "routes",
    ),
}


@PROTOCOLS
@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("when", ["at-first", "later"])
async def test_one_of_ten_is_refused_and_the_others_get_through(
    tmp_path: Path,
    what: str,
    when: str,
    delta: bool,
) -> None:
    type_url, good, bad, kind = BROKEN[what]
    every = {f"x{n}" for n in TEN}
    ports = free_ports(10)
    beside: list[Resource] = []
    if type_url == ENDPOINT:
        beside = [a_cluster(name) for name in sorted(every)]
    if type_url == ROUTE:
        beside = [by_route(f"l{n}", ports[n], f"x{n}") for n in TEN]
    at_first = [bad("x4") if name == "x4" and when == "at-first" else good(name) for name in sorted(every)]
    async with (
        served(*beside, *at_first) as server,
        envoy(tmp_path, server.port, delta=delta) as process,
    ):
        if when == "later":
            await until(lambda: state(server, type_url).in_sync, "Envoy has its first configuration")
            server.publish(*(bad(name) if name == "x4" else changed(good(name)) for name in sorted(every)))

        def refused() -> bool:
            return state(server, type_url).held_back == ("x4",) and not state(server, type_url).pending

        await until(refused, "the culprit alone is held back")
        status = state(server, type_url)
        assert status.refusal is not None
        assert status.refusal.names == ("x4",)
        assert status.refusal.origin == (f"{kind}/x4.yaml",)
        assert status.refusal.message
        await until(lambda: has(process, kind, every - {"x4"}), "the others are there")
        if when == "later":
            assert "x4" in await names(process, kind), "the last good one stays"
        server.publish(good("x4"))
        await until(lambda: state(server, type_url).in_sync, "what was mended is accepted")
        assert state(server, type_url).held_back == ()
        await until(lambda: has(process, kind, every), "all are there")


async def has(process: EnvoyProcess, kind: str, wanted: set[str]) -> bool:
    return wanted <= await names(process, kind)


def changed(good: Resource) -> Resource:
    """The same resource with other content, which is as good."""
    message = MESSAGES[good.type_url].FromString(good.body)
    if isinstance(message, Cluster):
        message.connect_timeout.seconds = 7
    elif isinstance(message, ClusterLoadAssignment):
        message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = 81
    elif isinstance(message, RouteConfiguration):
        message.virtual_hosts[0].routes[0].match.prefix = "/changed"
    return resource(message, origin=good.origin)


@PROTOCOLS
async def test_a_listener_on_an_impossible_address_is_refused_alone(
    tmp_path: Path,
    delta: bool,
) -> None:
    one, other = free_ports(2)
    async with (
        served(
            by_route("good", one, "r"), by_route("bad", other, "r", "192.0.2.1"), a_route("r", "c")
        ) as server,
        envoy(tmp_path, server.port, delta=delta) as process,
    ):
        await until(lambda: state(server, LISTENER).held_back == ("bad",), "the culprit is held back")
        refusal = state(server, LISTENER).refusal
        assert refusal is not None
        assert (refusal.names, refusal.origin) == (("bad",), ("listeners/bad.yaml",))
        await until(lambda: has(process, "listeners", {"good"}), "the other is there")
        server.publish(by_route("bad", other, "r"))
        await until(lambda: has(process, "listeners", {"good", "bad"}), "what was mended is there")


@PROTOCOLS
async def test_a_broken_stream_costs_nothing(tmp_path: Path, delta: bool) -> None:
    (port, outbound) = free_ports(2)
    resources = [
        *(
            each
            for n in TEN
            for each in (a_cluster(f"c{n}"), endpoints(f"c{n}", 80), a_route(f"r{n}", f"c{n}"))
        ),
        *(a_scope(f"host{n}", f"r{n}") for n in TEN),
        by_host(outbound),
        resource(runtime(watching=False)),
    ]
    types = {CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE, RUNTIME}
    async with contextlib.AsyncExitStack() as stack:
        async with served(*resources, port=port) as server:
            process = await stack.enter_async_context(envoy(tmp_path, port, delta=delta))
            await until(lambda: has(process, "routes", {f"r{n}" for n in TEN}), "Envoy has everything")
            assert server.recorder.bytes.keys() == types
        async with served(*resources, port=port) as server:

            def back() -> bool:
                return {kind.type_url for client in server.xds.clients() for kind in client.types} == types

            await until(back, "Envoy is back")
            await until(lambda: all(state(server, kind).in_sync for kind in types), "in sync")
            assert server.recorder.bytes == {}
            server.publish(endpoints("c0", 8080))

            async def followed() -> bool:
                return "8080" in str((await contents(process, "endpoints"))["c0"])

            await until(followed, "and follows changes")
            assert server.recorder.bytes.keys() == {ENDPOINT}
