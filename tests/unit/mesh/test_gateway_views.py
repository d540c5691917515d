from __future__ import annotations

from collections.abc import Iterable

import pytest

from documents.parsing import parse
from mesh.conditions import gateway_conditions, route_conditions
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.gateway_secrets import NOTHING_LOADED, Loaded, Readable, readable
from mesh.gateway_views import GatewayView, declared, gateway_scope, gateway_view
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import outbound_scope
from policies.registry import KINDS
from tests.support.builders import TRUST_DOMAIN, a_service, service_document

EDGE, PLAYER = Key("default", "edge"), Key("default", "edge-1")
ALL = "allowedRoutes: {namespaces: {from: All}}"


def a_gateway(*listeners: str, name: str = "edge") -> str:
    return (
        f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n"
        f"spec: {{gatewayClassName: meshwright, listeners: [{', '.join(f'{{{each}}}' for each in listeners)}]}}\n"
    )


def a_player(address: str = "127.0.0.1") -> str:
    return (
        "---\napiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {name: edge-1}\n"
        f"spec: {{gateway: edge, address: {address}}}\n"
    )


def a_route(
    name: str,
    *hosts: str,
    kind: str = "HTTPRoute",
    section: str | None = None,
    path: str | None = None,
    backend: str = "name: api, port: 80",
    namespace: str = "default",
) -> str:
    parent = "name: edge, namespace: default" + (f", sectionName: {section}" if section else "")
    match = f", matches: [{{path: {{value: {path}}}}}]" if path else ""
    return (
        f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{parentRefs: [{{{parent}}}], hostnames: [{', '.join(map(repr, hosts))}], "
        f"rules: [{{backendRefs: [{{{backend}}}]{match}}}]}}\n"
    ).replace("hostnames: [], ", "")


def a_mesh(*documents: str) -> MeshState:
    parsed = parse("test.yaml", "".join(documents).encode(), KINDS)
    assert not parsed.errors, parsed.errors
    snapshot = SourceSnapshot(
        "test", tuple(parsed.services()), tuple(parsed.workloads()), tuple(parsed.declared())
    )
    return MeshState(TRUST_DOMAIN).apply(snapshot)[0]


def a_view(
    state: MeshState, certificates: Iterable[str] = (), authorities: Iterable[str] = ()
) -> GatewayView:
    loaded = Loaded(frozenset(map(Key.parse, certificates)), frozenset(map(Key.parse, authorities)))
    return gateway_view(state, EDGE, state.workloads[PLAYER], loaded)


def hosts(view: GatewayView) -> dict[str, list[str]]:
    """For each host of the only port, the routes whose rules are tried, in their order."""
    (port,) = view.ports
    return {each.host: [rule.route.key.name for rule in each.rules] for each in port.hosts}


HTTP = f"name: http, port: 8080, protocol: HTTP, {ALL}"
BASE = (service_document("api"), a_player())


def test_without_a_gateway_there_is_nothing_to_listen_on() -> None:
    assert a_view(a_mesh(*BASE)).ports == ()


def test_a_route_without_hosts_is_for_every_host() -> None:
    assert hosts(a_view(a_mesh(*BASE, a_gateway(HTTP), a_route("a")))) == {"*": ["a"]}


def test_routes_with_the_more_specific_host_come_first_and_the_others_after_them() -> None:
    state = a_mesh(
        *BASE,
        a_gateway(HTTP),
        a_route("any", path="/any"),
        a_route("wide", "*.example.com", path="/wide"),
        a_route("deeper", "*.shop.example.com", path="/deeper"),
        a_route("exact", "a.shop.example.com"),
    )
    assert hosts(a_view(state)) == {
        "*": ["any"],
        "*.example.com": ["wide", "any"],
        "*.shop.example.com": ["deeper", "wide", "any"],
        "a.shop.example.com": ["exact", "deeper", "wide", "any"],
    }


def test_a_host_belongs_to_the_listener_that_names_it_best() -> None:
    listeners = (
        f"name: any, port: 8080, protocol: HTTP, {ALL}",
        f"name: wide, port: 8080, protocol: HTTP, hostname: '*.example.com', {ALL}",
        f"name: exact, port: 8080, protocol: HTTP, hostname: a.example.com, {ALL}",
    )
    state = a_mesh(
        *BASE,
        a_gateway(*listeners),
        a_route("of-any", section="any"),
        a_route("of-wide", "a.example.com", "b.example.com", section="wide"),
    )
    assert hosts(a_view(state)) == {
        "*": ["of-any"],
        "*.example.com": [],  # no route of another listener is seen here
        "a.example.com": [],
        "b.example.com": ["of-wide"],
    }


def test_a_listener_and_a_route_must_have_a_host_in_common() -> None:
    listener = f"name: http, port: 8080, protocol: HTTP, hostname: '*.example.com', {ALL}"
    state = a_mesh(
        *BASE, a_gateway(listener), a_route("a", "a.example.com", "a.example.org"), a_route("b", "b.org")
    )
    assert hosts(a_view(state)) == {"*.example.com": [], "a.example.com": ["a"]}
    conditions = {route.key.name: of for route, of in route_conditions(state)}
    assert [each.reason for each in conditions["b"]] == ["NoMatchingListenerHostname", "ResolvedRefs"]


def test_of_an_http_and_a_grpc_route_for_one_host_the_older_is_followed() -> None:
    grpc = a_route("b-calls", "*.example.com", kind="GRPCRoute", backend="name: calls, port: 80")
    state = a_mesh(
        *BASE,
        service_document("calls", "ports: [{name: grpc, port: 80, protocol: grpc}]"),
        a_gateway(HTTP),
        a_route("a", "shop.example.com"),
        grpc,
        a_route("c", "example.org"),
        a_route("d-calls", "grpc.example.org", kind="GRPCRoute", backend="name: calls, port: 80"),
    )
    assert hosts(a_view(state)) == {
        "*": [],
        "example.org": ["c"],
        "grpc.example.org": ["d-calls"],
        "shop.example.com": ["a"],
    }
    accepted = {route.key.name: of[0] for route, of in route_conditions(state)}
    assert {name: each.status for name, each in accepted.items()} == {
        "a": True,
        "b-calls": False,
        "c": True,
        "d-calls": True,
    }
    assert "HTTPRoute default/a has a host name of it already" in accepted["b-calls"].message
    older = grpc.replace("name: b-calls,", "name: b-calls, creationTimestamp: '2020-01-01T00:00:00Z',")
    again = a_mesh(*BASE, a_gateway(HTTP), a_route("a", "shop.example.com"), a_route("e"), older)
    assert hosts(a_view(again)) == {"*": [], "*.example.com": ["b-calls"]}


def test_only_namespaces_that_are_allowed_attach() -> None:
    state = a_mesh(
        *BASE, a_gateway("name: http, port: 8080, protocol: HTTP"), a_route("far", namespace="other")
    )
    assert hosts(a_view(state)) == {"*": []}


def test_a_backend_of_another_namespace_needs_a_grant() -> None:
    far = a_route("far", backend="name: api, namespace: other, port: 80")
    documents = (*BASE, service_document("other/api"), a_gateway(HTTP), far)
    grant = (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\n"
        "spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: '', kind: Service}]}\n"
    )
    (backend,) = a_view(a_mesh(*documents)).backends()
    assert backend.problem.startswith("RefNotPermitted")
    (backend,) = a_view(a_mesh(*documents, grant)).backends()
    assert not backend.problem


def test_the_scope_is_what_the_routes_lead_to() -> None:
    state = a_mesh(*BASE, service_document("other"), a_gateway(HTTP), a_route("a"))
    whole = outbound_scope(state, state.workloads[PLAYER])
    assert whole.services is None
    assert gateway_scope(state, whole, a_view(state)).services == (Key("default", "api"),)


HTTPS = (
    "name: https, port: 8443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: a}]}"
)
SECRET = (
    "---\napiVersion: meshwright.dev/v1alpha1\nkind: Secret\nmetadata: {name: a}\n"
    "spec: {certificateFile: a.pem, keyFile: a.key}\n"
)


def test_a_listener_without_a_certificate_that_could_be_read_is_left_out() -> None:
    state = a_mesh(*BASE, a_gateway(HTTPS), SECRET)
    assert a_view(state).ports == ()
    (port,) = a_view(state, ["a"]).ports
    (chain,) = port.chains
    assert (port.secure, chain.sni, chain.certificates) == (True, "a.example.com", (Key("default", "a"),))
    gateway = declared(state, EDGE)
    assert gateway is not None
    told = gateway_conditions(state, gateway, NOTHING_LOADED, lambda key: f"{key} is broken")
    assert [(each.listener, each.type, each.status, each.reason) for each in told] == [
        ("", "Accepted", True, "Accepted"),
        ("", "Programmed", True, "Programmed"),
        ("", "ResolvedRefs", False, "ListenersNotResolved"),
        ("https", "Accepted", True, "Accepted"),
        ("https", "ResolvedRefs", False, "InvalidCertificateRef"),
        ("https", "Programmed", False, "Invalid"),
    ]


def test_a_certificate_of_another_namespace_needs_a_grant() -> None:
    far = HTTPS.replace("{name: a}", "{name: a, namespace: keys}")
    secret = SECRET.replace("{name: a}", "{name: a, namespace: keys}")
    grant = (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: keys}\n"
        "spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], to: [{group: '', kind: Secret}]}\n"
    )
    state = a_mesh(*BASE, a_gateway(far), secret)
    gateway = declared(state, EDGE)
    assert gateway is not None
    assert readable(state, gateway) == Readable()
    assert a_view(state, ["keys/a"]).ports == ()
    granted = a_mesh(*BASE, a_gateway(far), secret, grant)
    assert readable(granted, gateway) == Readable((Key("keys", "a"),))
    assert len(a_view(granted, ["keys/a"]).ports) == 1


def test_a_listener_that_must_verify_clients_never_opens_without_the_authorities() -> None:
    gateway = a_gateway(HTTPS).replace(
        "listeners:",
        "tls: {frontend: {default: {validation: {caCertificateRefs: [{kind: Secret, group: meshwright.dev, name: ca}]}}}}, listeners:",
    )
    authorities = SECRET.replace("{name: a}", "{name: ca}").replace(
        "certificateFile: a.pem, keyFile: a.key", "authoritiesFile: ca.pem"
    )
    state = a_mesh(*BASE, gateway, SECRET, authorities)
    assert a_view(state, ["a"]).ports == ()
    (port,) = a_view(state, ["a"], ["ca"]).ports
    assert port.chains[0].authorities == (Key("default", "ca"),)


def test_tls_is_passed_through_by_server_name_and_the_oldest_route_has_it() -> None:
    tls = "name: tls, port: 8443, protocol: TLS, hostname: '*.example.com', tls: {mode: Passthrough}"
    service = service_document("api", "ports: [{name: tls, port: 443, protocol: tls}]")
    backend = "name: api, port: 443"
    state = a_mesh(
        service,
        a_player(),
        a_gateway(tls),
        a_route("b", "x.example.com", kind="TLSRoute", backend="name: nothing, port: 1"),
        a_route("a", "x.example.com", "y.example.com", kind="TLSRoute", backend=backend),
    )
    (port,) = a_view(state).ports
    assert [(each.sni, [to.service.name for to in each.backends]) for each in port.chains] == [
        ("x.example.com", ["api"]),
        ("y.example.com", ["api"]),
    ]


def test_of_tcp_routes_the_oldest_is_followed_and_the_others_are_told() -> None:
    tcp = "name: tcp, port: 7000, protocol: TCP"
    state = a_mesh(*BASE, a_gateway(tcp), a_route("b", kind="TCPRoute"), a_route("a", kind="TCPRoute"))
    (port,) = a_view(state).ports
    assert len(port.chains) == 1
    gateway = declared(state, EDGE)
    assert gateway is not None
    told = [
        each for each in gateway_conditions(state, gateway, NOTHING_LOADED, str) if each.type == "Conflicted"
    ]
    assert "default/a, is followed, and not default/b" in told[0].message


@pytest.mark.parametrize(
    ("address", "binds"), [("127.0.0.3", ("127.0.0.3",)), ("10.0.0.1", ("0.0.0.0",)), ("fd00::1", ("::",))]
)
def test_it_listens_where_its_workload_is(address: str, binds: tuple[str, ...]) -> None:
    player = a_player(f"'{address}'")
    assert a_view(a_mesh(service_document("api"), player, a_gateway(HTTP))).binds == binds


def test_what_a_change_concerns() -> None:
    state = a_mesh(*BASE, a_gateway(HTTP))

    def concerned(document: str) -> frozenset[Key]:
        parsed = parse("more.yaml", document.encode(), KINDS)
        assert not parsed.errors, parsed.errors
        return state.apply(SourceUpdate("test", declared=tuple(parsed.declared())))[1].workloads

    assert concerned(a_route("a")) == {PLAYER}
    assert concerned(a_gateway(f"name: http, port: 8081, protocol: HTTP, {ALL}")) == {PLAYER}
    assert concerned(a_route("a").replace("name: edge,", "name: other,")) == frozenset()
    assert concerned(SECRET) == {PLAYER}


def test_players_come_and_go() -> None:
    state = a_mesh(*BASE)
    assert dict(state.edges.players) == {EDGE: (PLAYER,)}
    gone, changes = state.apply(SourceUpdate("test", removed_workloads=(PLAYER,)))
    assert not gone.edges.players
    assert changes.workloads == {PLAYER}
    assert a_service("api").key in gone.services
