"""Services outside the mesh: which of them a host name leads to, and what a change of that concerns."""

from __future__ import annotations

from dataclasses import replace

from mesh.events import Declared, SourceSnapshot, SourceUpdate
from mesh.external import External, Resolution
from mesh.names import Key
from mesh.routes import Backend, BackendKind, ParentKind, ParentRef, Route, RouteKind
from mesh.routing import backend_view
from mesh.service import Service
from mesh.state import MeshState
from mesh.views import endpoints_views, outbound_listeners_view, scope_view, service_view
from mesh.workload import Use
from tests.support.builders import a_key, a_port, a_proxy, a_service, a_state


def outside(name: str, *hosts: str) -> Service:
    return replace(a_service(name), external=External(hosts))


def hosts(state: MeshState, name: str) -> tuple[str, ...]:
    found = scope_view(state, a_key(name), "default")
    return found.hosts if found is not None else ()


def test_a_host_is_that_of_the_service_that_claims_it_first() -> None:
    state = a_state(outside("b", "x.example.com", "y.example.com"), outside("a", "x.example.com"))
    assert hosts(state, "a") == ("x.example.com",)
    assert hosts(state, "b") == ("y.example.com",)
    (conflict,) = state.conflicts()
    assert conflict.startswith(
        "host x.example.com of ExternalService default/b is left out: ExternalService default/a"
    )


def test_who_claims_a_host_is_changed_when_another_comes_or_goes() -> None:
    state = a_state(outside("b", "x.example.com"))
    state, changes = state.apply(SourceUpdate("file", services=(outside("a", "x.example.com"),)))
    assert changes.services == {a_key("a"), a_key("b")}
    assert hosts(state, "b") == ()
    assert not changes.callers
    state, changes = state.apply(SourceUpdate("file", removed_services=(a_key("a"),)))
    assert changes.services == {a_key("a"), a_key("b")}
    assert hosts(state, "b") == ("x.example.com",)
    for source in list(state.sources):
        state, _ = state.apply(SourceSnapshot(source))
    assert not state.hosts


def test_a_name_of_the_mesh_is_no_host_outside() -> None:
    state = a_state(outside("b", "api.shop"))
    assert hosts(state, "b") == ("api.shop",)
    state, changes = state.apply(SourceUpdate("file", services=(a_service("shop/api"),)))
    assert a_key("b") in changes.services
    assert hosts(state, "b") == ()
    assert any("it is a name of service shop/api" in each for each in state.conflicts())


def test_wildcards_are_a_matter_of_listeners() -> None:
    state, changes = a_state().apply(SourceUpdate("file", services=(outside("shops", "*.example.com"),)))
    assert changes.callers
    assert hosts(state, "shops") == ()
    everything = outbound_listeners_view(state, a_proxy("web-1"))
    assert [each.domains for each in everything.wildcards] == [("*.example.com", "*.example.com:80")]
    nothing = outbound_listeners_view(state, a_proxy("web-1", uses=()))
    assert nothing.wildcards == ()


def test_routes_of_wildcards_are_told_of() -> None:
    state = a_state(outside("shops", "*.example.com"))
    parent = ParentRef(ParentKind.SERVICE, a_key("shops"))
    route = Route(RouteKind.HTTP, a_key("r"), (parent,))
    state, _ = state.apply(SourceUpdate("test", declared=(Declared("HTTPRoute", route),)))
    (line,) = state.conflicts()
    assert line.startswith("HTTPRoute default/r: no effect on ExternalService default/shops")


def test_a_local_port_leads_to_no_wildcard() -> None:
    state = a_state(outside("shops", "*.example.com"), outside("pay", "pay.example.com"))
    uses = (Use(a_key("shops"), None, 18080), Use(a_key("pay"), None, 18081))
    assert [each.service for each in outbound_listeners_view(state, a_proxy("web-1", uses=uses)).local] == [
        a_key("pay")
    ]


def test_a_service_outside_has_no_endpoints_of_its_own() -> None:
    state = a_state(outside("pay", "pay.example.com"), a_proxy("pay-1"))
    assert list(endpoints_views(state, a_key("pay"))) == []
    assert service_view(state, a_key("pay")).hosts == ("pay.example.com",)


def test_backends_of_routes() -> None:
    state = a_state(outside("pay", "pay.example.com"), outside("shops", "*.example.com"), a_service("api"))
    route = Route(RouteKind.HTTP, Key("default", "r"), ())

    def view(kind: BackendKind, name: str) -> tuple[str, str]:
        found = backend_view(state, route, Backend(kind, a_key(name), 80))
        return found.host, found.problem

    assert view(BackendKind.EXTERNAL, "pay") == ("pay.example.com", "")
    assert view(BackendKind.SERVICE, "api") == ("", "")
    assert "refer to it as Service" in view(BackendKind.EXTERNAL, "api")[1]
    assert "*.example.com" in view(BackendKind.EXTERNAL, "shops")[1]
    assert view(BackendKind.EXTERNAL, "nobody")[1].startswith("BackendNotFound")


def test_what_is_connected_to() -> None:
    assert External(("a.example.com",)).addresses == ("a.example.com",)
    assert External(("a.example.com",), Resolution.STATIC, ("192.0.2.1",)).addresses == ("192.0.2.1",)
    assert External(("*.example.com",)).addresses == ()
    moved = External(("a.example.com",), targets=((80, 443),))
    assert (moved.target(80), moved.target(81)) == (443, 81)
    assert a_port().port == 80
