"""ListenerSets: which listeners a gateway has because of them, what they may refer to, and what their status says."""

from __future__ import annotations

import pytest

from mesh.conditions import route_conditions
from mesh.events import SourceUpdate
from mesh.gateway_secrets import NOTHING_LOADED, Loaded, readable
from mesh.gateway_views import declared
from mesh.listener_set_conditions import SetStanding, standings
from mesh.listener_sets import MOST, whole
from mesh.names import Key
from mesh.state import MeshState
from tests.support.builders import service_document
from tests.unit.mesh.test_gateway_views import BASE, EDGE, PLAYER, a_mesh, a_player, a_view, hosts

API = "rules: [{backendRefs: [{name: api, port: 80}]}]"
SECRET = "---\napiVersion: meshwright.dev/v1alpha1\nkind: Secret\nmetadata: {name: a, namespace: %s}\nspec: {certificateFile: a.pem, keyFile: a.key}\n"


def document(kind: str, name: str, spec: str, created: str = "") -> str:
    key = Key.parse(name if "/" in name else f"default/{name}")
    when = f", creationTimestamp: '{created}'" if created else ""
    return (
        f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {key.name}, namespace: {key.namespace}{when}}}\nspec: {{{spec}}}\n"
    )


def a_gateway(*listeners: str, sets: str = "All") -> str:
    allowed = f", allowedListeners: {{namespaces: {{from: {sets}}}}}" if sets else ""
    listed = ", ".join(f"{{{each}}}" for each in listeners or ("name: http, port: 8080, protocol: HTTP",))
    return document("Gateway", "edge", f"gatewayClassName: meshwright, listeners: [{listed}]{allowed}")


def a_set(name: str, *listeners: str, created: str = "", gateway: str = "edge") -> str:
    listed = ", ".join(f"{{{each}}}" for each in listeners)
    parent = f"parentRef: {{name: {gateway}, namespace: default}}"
    return document("ListenerSet", name, f"{parent}, listeners: [{listed}]", created)


def a_route(name: str, *parents: str) -> str:
    listed = ", ".join(f"{{{each}}}" for each in parents)
    return document("HTTPRoute", name, f"parentRefs: [{listed}], {API}")


def listeners(state: MeshState) -> list[str]:
    gateway = declared(state, EDGE)
    assert gateway is not None
    return [
        each.name if each.set is None else f"{each.set}:{each.name}"
        for each in whole(state, gateway).listeners
    ]


def standing(state: MeshState, name: str, loaded: Loaded = NOTHING_LOADED) -> SetStanding:
    (found,) = (each for each in standings(state, loaded, lambda _: "") if str(each.set.key) == name)
    return found


def said(of: SetStanding) -> list[tuple[str, str, bool, str]]:
    return [(each.listener, each.type, each.status, each.reason) for each in of.conditions]


WEB = "name: http, port: 8080, protocol: HTTP, hostname: {}.example.com"


def test_the_gateway_comes_first_then_older_sets_then_by_name() -> None:
    state = a_mesh(
        *BASE,
        a_gateway(),
        a_set("b", WEB.format("b")),
        a_set("a", WEB.format("a")),
        a_set("young", WEB.format("y"), created="2026-02-01T00:00:00Z"),
        a_set("old", WEB.format("o"), created="2026-01-01T00:00:00Z"),
    )
    assert listeners(state) == [
        "http",
        "default/old:http",
        "default/young:http",
        "default/a:http",
        "default/b:http",
    ]


@pytest.mark.parametrize(
    ("allowed", "taken"),
    [
        ("", []),
        ("None", []),
        ("Same", ["default/near"]),
        ("All", ["default/near", "shop/far"]),
        ("Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}", ["shop/far"]),
    ],
)
def test_a_gateway_says_whose_sets_it_takes(allowed: str, taken: list[str]) -> None:
    near, far = a_set("near", WEB.format("near")), a_set("shop/far", WEB.format("far"))
    state = a_mesh(*BASE, a_gateway(sets=allowed), near, far)
    assert [each for each in listeners(state) if ":" in each] == [f"{each}:http" for each in taken]
    for name in ("default/near", "shop/far"):
        found = said(standing(state, name))
        if name in taken:
            assert ("", "Accepted", True, "Accepted") in found
            assert ("", "Programmed", True, "Programmed") in found
        else:
            assert found == [("", "Accepted", False, "NotAllowed"), ("", "Programmed", False, "NotAllowed")]


def test_of_two_that_cannot_be_told_apart_the_first_is_served() -> None:
    state = a_mesh(
        *BASE,
        a_gateway("name: http, port: 8080, protocol: HTTP, hostname: a.example.com"),
        a_set("one", WEB.format("a"), "name: own, port: 8081, protocol: HTTP"),
        a_set("two", "name: tcp, port: 8081, protocol: TCP"),
        a_set("three", "name: any, port: 8082, protocol: HTTP", "name: tcp, port: 8080, protocol: TCP"),
    )
    assert listeners(state) == ["http", "default/one:own", "default/three:any"]
    assert said(standing(state, "default/one")) == [
        ("", "Accepted", True, "ListenersNotValid"),
        ("", "Programmed", True, "Programmed"),
        ("http", "Accepted", False, "HostnameConflict"),
        ("http", "Programmed", False, "HostnameConflict"),
        ("http", "Conflicted", True, "HostnameConflict"),
        ("own", "Accepted", True, "Accepted"),
        ("own", "Programmed", True, "Programmed"),
    ]
    assert said(standing(state, "default/two")) == [
        ("", "Accepted", False, "ListenersNotValid"),
        ("", "Programmed", False, "ListenersNotValid"),
        ("tcp", "Accepted", False, "ProtocolConflict"),
        ("tcp", "Programmed", False, "ProtocolConflict"),
        ("tcp", "Conflicted", True, "ProtocolConflict"),
    ]
    assert standing(state, "default/three").accepted


def test_routes_see_the_listeners_of_what_they_name_and_no_others() -> None:
    state = a_mesh(
        *BASE,
        a_gateway("name: http, port: 8080, protocol: HTTP, hostname: gw.example.com"),
        a_set("one", WEB.format("one"), "name: only, port: 8080, protocol: HTTP, hostname: only.example.com"),
        a_set("two", WEB.format("two")),
        a_route("of-gateway", "name: edge"),
        a_route("of-set", "kind: ListenerSet, name: one"),
        a_route(
            "of-section", "kind: ListenerSet, name: one, sectionName: only", "name: edge, sectionName: only"
        ),
        a_route("of-both", "kind: ListenerSet, name: two", "name: edge"),
    )
    assert hosts(a_view(state)) == {
        "gw.example.com": ["of-both", "of-gateway"],
        "one.example.com": ["of-set"],
        "only.example.com": ["of-section", "of-set"],
        "two.example.com": ["of-both"],
    }
    assert standing(state, "default/one").routes == (("http", 1), ("only", 2))
    (found,) = (each for route, each in route_conditions(state) if route.key.name == "of-section")
    assert [(str(each.parent), each.status, each.reason) for each in found if each.type == "Accepted"] == [
        ("ListenerSet default/one#only", True, "Accepted"),
        ("Gateway default/edge#only", False, "NoMatchingParent"),
    ]


def test_a_route_is_attached_to_a_conflicted_listener_and_served_when_the_other_goes() -> None:
    state = a_mesh(
        *BASE,
        a_gateway(),
        a_set("one", WEB.format("a")),
        a_set("two", WEB.format("a")),
        a_route("first", "kind: ListenerSet, name: one"),
        a_route("second", "kind: ListenerSet, name: two"),
    )
    assert hosts(a_view(state))["a.example.com"] == ["first"]
    assert standing(state, "default/two").routes == (("http", 1),)
    removed = SourceUpdate("test", removed_declared=(("ListenerSet", Key("default", "one")),))
    after, changes = state.apply(removed)
    assert changes.workloads == {PLAYER}
    assert hosts(a_view(after))["a.example.com"] == ["second"]
    assert standing(after, "default/two").accepted


def test_a_set_that_is_not_taken_gives_its_routes_nowhere_to_go() -> None:
    state = a_mesh(
        *BASE, a_gateway(sets=""), a_set("one", WEB.format("a")), a_route("r", "kind: ListenerSet, name: one")
    )
    (found,) = (each for _, each in route_conditions(state))
    assert (found[0].status, found[0].reason) == (False, "NoMatchingParent")
    assert found[0].message == (
        "ListenerSet default/one is not attached: Gateway default/edge takes no ListenerSet of namespace default: "
        "see its allowedListeners"
    )
    alone = a_mesh(a_set("one", WEB.format("a")), a_route("r", "kind: ListenerSet, name: other"))
    assert said(standing(alone, "default/one"))[0] == ("", "Accepted", False, "ParentNotAccepted")
    (found,) = (each for _, each in route_conditions(alone))
    assert found[0].message == "no document declares ListenerSet default/other"


def test_allowed_routes_are_those_of_the_namespace_of_the_set() -> None:
    state = a_mesh(
        *BASE,
        service_document("shop/api"),
        a_gateway(),
        a_set("shop/one", WEB.format("a")),
        a_route("shop/near", "kind: ListenerSet, name: one"),
        a_route("far", "kind: ListenerSet, name: one, namespace: shop"),
    )
    assert hosts(a_view(state))["a.example.com"] == ["near"]


def a_grant(kind: str) -> str:
    return document(
        "ReferenceGrant",
        "certs/grant",
        f"from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: shop}}], "
        'to: [{group: "", kind: Secret}]',
    )


@pytest.mark.parametrize(
    ("space", "grant", "reason"),
    [
        ("shop", "", "ResolvedRefs"),
        ("certs", "", "RefNotPermitted"),
        ("certs", a_grant("Gateway"), "RefNotPermitted"),
        ("certs", a_grant("ListenerSet"), "ResolvedRefs"),
        ("nowhere", "", "RefNotPermitted"),
    ],
)
def test_certificates_of_a_set_are_those_that_its_own_namespace_may_refer_to(
    space: str, grant: str, reason: str
) -> None:
    tls = f"tls: {{certificateRefs: [{{name: a, namespace: {space}}}]}}"
    state = a_mesh(
        *BASE,
        SECRET % "shop",
        SECRET % "certs",
        grant,
        a_gateway(),
        a_set("shop/one", f"name: https, port: 8443, protocol: HTTPS, {tls}"),
    )
    loaded = Loaded(frozenset({Key("shop", "a"), Key("certs", "a")}))
    found = standing(state, "shop/one", loaded)
    assert ("https", "ResolvedRefs", reason == "ResolvedRefs", reason) in said(found)
    assert found.accepted is (reason == "ResolvedRefs")
    gateway = declared(state, EDGE)
    assert gateway is not None
    readable_ones = readable(state, gateway).certificates
    assert readable_ones == ((Key(space, "a"),) if found.accepted else ())
    open_ports = [each.port for each in a_view(state, ["shop/a", "certs/a"]).ports]
    assert open_ports == ([8080, 8443] if found.accepted else [8080])


def test_a_gateway_does_not_grow_without_bounds() -> None:
    sets = [
        a_set(
            f"s{number:02}",
            *(f"name: l{each}, port: {number * 64 + each + 1}, protocol: HTTP" for each in range(64)),
        )
        for number in range(17)
    ]
    state = a_mesh(a_player(), a_gateway("name: http, port: 9999, protocol: HTTP"), *sets)
    assert len(listeners(state)) == MOST
    last = standing(state, "default/s16")
    assert last.conditions[0].message.startswith("no listener can be served: what is wrong with l0, ")
    assert ("l0", "Accepted", False, "TooManyListeners") in said(last)


def test_a_set_moves_to_another_gateway() -> None:
    state = a_mesh(*BASE, a_gateway(), a_set("one", WEB.format("a")))
    moved = a_mesh(*BASE, a_gateway(), a_set("one", WEB.format("a"), gateway="other"))
    (now,) = (each for each in moved.sources["test"].declared.values() if each.kind == "ListenerSet")
    after, changes = state.apply(SourceUpdate("test", declared=(now,)))
    assert changes.workloads == {PLAYER}
    assert listeners(after) == ["http"]
    assert after.edges == moved.edges
