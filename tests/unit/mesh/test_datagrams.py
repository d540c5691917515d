"""UDP: ports of gateways and of services, and where what comes to them goes."""

from __future__ import annotations

from mesh.conditions import gateway_conditions, route_conditions
from mesh.gateway_secrets import NOTHING_LOADED
from mesh.gateway_views import GatewayView, declared
from mesh.names import Key
from mesh.routes import Route
from mesh.state import MeshState
from mesh.views import inbound_view, outbound_listeners_view
from mesh.virtual import virtual_view
from mesh.workload import Endpoint
from tests.support.builders import service_document, workload_document
from tests.unit.mesh.test_gateway_views import EDGE, a_gateway, a_mesh, a_player, a_view

NAMES = service_document("names", "ports: [{name: dns, port: 53, protocol: udp}]")
NEXT = service_document("next", "ports: [{name: dns, port: 53, protocol: udp}]")
LINE = service_document("line", "ports: [{name: line, port: 7000}]")
SERVED = workload_document(
    "names-1",
    "services: [names], address: 127.0.0.2, meshed: true, ports: [{name: dns, app: 5353, sidecar: 15101}]",
)


def a_route(
    name: str, *backends: str, parent: str = "name: edge", kind: str = "UDPRoute", created: str = ""
) -> str:
    when = f", creationTimestamp: '{created}'" if created else ""
    listed = ", ".join(f"{{{each}}}" for each in backends)
    return (
        f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}{when}}}\n"
        f"spec: {{parentRefs: [{{{parent}}}], rules: [{{backendRefs: [{listed}]}}]}}\n"
    )


def shares(view: GatewayView) -> dict[int, list[tuple[str, int, str]]]:
    return {
        port.port: [
            (each.service.name, each.weight, each.problem.partition(":")[0]) for each in port.backends
        ]
        for port in view.datagrams
    }


def accepted(state: MeshState) -> dict[str, str]:
    return {route.key.name: found[0].reason for route, found in route_conditions(state)}


def test_a_port_of_udp_is_open_once_a_route_leads_from_it() -> None:
    listeners = ("name: dns, port: 5300, protocol: UDP", "name: idle, port: 5301, protocol: UDP")
    split = a_route(
        "r", "name: names, port: 53, weight: 3", "name: gone, port: 53", parent="name: edge, sectionName: dns"
    )
    state = a_mesh(a_player(), NAMES, a_gateway(*listeners), split)
    view = a_view(state)
    assert (view.ports, shares(view)) == ((), {5300: [("names", 3, ""), ("gone", 1, "BackendNotFound")]})
    gateway = declared(state, EDGE)
    assert gateway is not None
    found = gateway_conditions(state, gateway, NOTHING_LOADED, lambda _: "")
    programmed = [(each.listener, each.status) for each in found if each.type == "Programmed"]
    assert programmed == [("", True), ("dns", True), ("idle", False)]


def test_of_two_routes_the_older_is_followed_and_both_are_attached() -> None:
    state = a_mesh(
        a_player(),
        NAMES,
        NEXT,
        a_gateway("name: dns, port: 5300, protocol: UDP"),
        a_route("young", "name: next, port: 53", created="2026-02-01T00:00:00Z"),
        a_route("old", "name: names, port: 53", created="2026-01-01T00:00:00Z"),
    )
    assert shares(a_view(state)) == {5300: [("names", 1, "")]}
    assert accepted(state) == {"young": "Accepted", "old": "Accepted"}
    gateway = declared(state, EDGE)
    assert gateway is not None
    last = gateway_conditions(state, gateway, NOTHING_LOADED, lambda _: "")[-1]
    assert (last.type, last.message) == (
        "Conflicted",
        "UDP has nothing to tell routes apart by: the oldest, default/old, is followed, and not default/young",
    )


def test_connections_and_datagrams_do_not_mix() -> None:
    state = a_mesh(
        a_player(),
        NAMES,
        LINE,
        a_gateway("name: dns, port: 5300, protocol: UDP", "name: line, port: 5300, protocol: TCP"),
        a_route("a", "name: line, port: 7000"),
        a_route("b", "name: names, port: 53", kind="TCPRoute"),
        a_route("c", "name: names, port: 53", kind="TCPRoute", parent="name: edge, sectionName: dns"),
    )
    view = a_view(state)
    assert shares(view) == {5300: [("line", 1, "UnsupportedProtocol")]}
    ((chain,),) = (each.chains for each in view.ports)
    assert [each.problem.partition(":")[0] for each in chain.backends] == ["UnsupportedProtocol"]
    assert accepted(state) == {"a": "Accepted", "b": "Accepted", "c": "NotAllowedByListeners"}


def test_datagrams_go_to_the_application_past_its_sidecar() -> None:
    state = a_mesh(NAMES, SERVED)
    key = Key("default", "names")
    (found,) = state.endpoints(key, state.services[key].ports[0])
    assert found == Endpoint(Key("default", "names-1"), "127.0.0.2", 5353, "names", meshed=False)
    assert inbound_view(state, state.workloads[Key("default", "names-1")]).ports == ()
    view = virtual_view(state, key, "default")
    assert view is not None
    assert view.ports == (), "interception takes no datagrams"


def test_a_local_port_follows_the_routes_of_the_service() -> None:
    caller = workload_document(
        "web-1", "address: 127.0.0.1, meshed: true, uses: [{service: names, localPort: 5300}]"
    )
    parent = 'group: "", kind: Service, name: names'
    state = a_mesh(
        NAMES,
        NEXT,
        SERVED,
        caller,
        a_route("r", "name: names, port: 53", "name: next, port: 53", parent=parent),
        a_route("wrong", "name: names, port: 53", parent=parent, kind="TCPRoute"),
    )
    (local,) = outbound_listeners_view(state, state.workloads[Key("default", "web-1")]).local
    assert [each.service.name for each in local.backends] == ["names", "next"]
    assert accepted(state) == {"r": "Accepted", "wrong": "NoMatchingParent"}
    assert all(isinstance(each, Route) for each in state.routing.attached[Key("default", "names")])
