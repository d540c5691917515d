from __future__ import annotations

from dataclasses import replace

import pytest

from envoy import packing
from envoy.render import Rendered, Renderer
from mesh.events import SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import (
    EndpointsView,
    endpoints_views,
    inbound_view,
    outbound_listeners_view,
    scope_view,
    service_view,
)
from tests.support.builders import a_key, a_port, a_proxy, a_service, a_state, a_workload


def everything(renderer: Renderer, state: MeshState, proxy: Key) -> tuple[Rendered, ...]:
    """What one proxy is given."""
    made: list[Rendered] = []
    workload = state.workloads[proxy]
    for key in sorted(state.services):
        made.extend(renderer.service(service_view(state, key)))
        made.extend(renderer.endpoints(view) for view in endpoints_views(state, key))
        names = scope_view(state, key, proxy.namespace)
        if names is not None:
            made.extend(renderer.scopes(names))
    made.extend(renderer.outbound_listeners(outbound_listeners_view(state, workload)))
    made.extend(renderer.inbound(inbound_view(state, workload)))
    return tuple(made)


def renderings_of_one_event(proxies: int) -> int:
    """How often an endpoint that changes is rendered when all of `proxies` are brought up to date."""
    callers = [a_workload(f"web-{number}", services=(), meshed=True) for number in range(proxies)]
    state = a_state(a_service("web"), a_service("api"), a_proxy("api-1"), *callers)
    renderer = Renderer()
    for caller in callers:
        everything(renderer, state, caller.key)
    before = renderer.renderings.total()
    changed, _ = state.apply(SourceUpdate("test", workloads=(a_proxy("api-1", sidecar=15102),)))
    for caller in callers:
        everything(renderer, changed, caller.key)
    return renderer.renderings.total() - before


def test_one_event_renders_as_often_for_a_thousand_proxies_as_for_ten() -> None:
    assert renderings_of_one_event(10) == 1
    assert renderings_of_one_event(1000) == 1


def test_equal_proxies_share_the_very_bytes() -> None:
    first, second = (
        a_workload(name, services=["web"], sidecar=15101, meshed=True) for name in ("web-1", "web-2")
    )
    state = a_state(a_service("web"), first, second)
    renderer = Renderer()
    mine, other = (everything(renderer, state, each.key) for each in (first, second))
    assert all(left.body is right.body for left, right in zip(mine, other, strict=True))


def test_two_renderers_make_the_same_bytes() -> None:
    state = a_state(a_service("api"), a_proxy("api-1"), a_service("db", a_port("sql", 5432, "tcp")))
    assert everything(Renderer(), state, a_key("api-1")) == everything(Renderer(), state, a_key("api-1"))


def test_provenance_is_no_part_of_the_value_and_is_the_latest() -> None:
    renderer = Renderer()
    view = service_view(a_state(a_service("api", origin=("a.yaml#1",))), a_key("api"))
    first = renderer.service(view)
    moved = renderer.service(replace(view, origin=("b.yaml#3",)))
    assert renderer.renderings["service"] == 1
    assert first == moved
    assert {each.origin for each in first} == {("a.yaml#1",)}
    assert {each.origin for each in moved} == {("b.yaml#3",)}


def test_what_envoy_would_refuse_is_marked_with_the_field_and_the_rule() -> None:
    """A port number that no document can have, which `mesh` does not check again."""
    view = service_view(a_state(a_service("api")), a_key("api"))
    bad = outbound_listeners_view(a_state(a_service("api")), a_workload("web", outbound_port=70000))
    (listener,) = Renderer().outbound_listeners(bad)
    assert listener.problem is not None
    assert "address.socket_address.port_value" in listener.problem
    assert all(each.problem is None for each in Renderer().service(view))


def test_the_fast_lane_checks_nothing() -> None:
    (view,) = endpoints_views(a_state(a_service("api"), a_workload("api-1", app=70000)), a_key("api"))
    assert Renderer().endpoints(view).problem is None


def test_memory_is_bounded_and_the_least_recently_used_leave_first() -> None:
    views = [_endpoints(number) for number in range(8)]
    size = len(Renderer().endpoints(views[0]).body)
    renderer = Renderer(cache_bytes=4 * (2 * size + 512))
    for view in views:
        renderer.endpoints(view)
        renderer.endpoints(views[0])
    assert renderer.renderings["endpoints"] == 8
    renderer.endpoints(views[1])
    assert renderer.renderings["endpoints"] == 9
    renderer.endpoints(views[0])
    assert renderer.renderings["endpoints"] == 9


def _endpoints(number: int) -> EndpointsView:
    name = f"api{number}"
    return next(iter(endpoints_views(a_state(a_service(name), a_workload(f"{name}-1")), a_key(name))))


@pytest.mark.parametrize("protocol", ["http", "http2", "grpc", "tcp", "tls"])
def test_each_kind_of_port_makes_what_callers_need(protocol: str) -> None:
    made = Renderer().service(
        service_view(a_state(a_service("api", a_port("p", 80, protocol))), a_key("api"))
    )
    names = sorted((each.type_url, each.name) for each in made)
    expected = [(packing.CDS, "default/api:80")]
    if protocol in {"http", "http2", "grpc"}:
        expected += [(packing.RDS, "default/api"), (packing.RDS, "default/api:80")]
    assert names == sorted(expected)
    assert all(each.problem is None for each in made)


def test_the_proxyless_variant_is_whole_and_passes_the_constraints() -> None:
    view = service_view(a_state(a_service("api", a_port("grpc", 80, "grpc"))), a_key("api"))
    made = Renderer().proxyless_service(view, "default")
    assert {each.type_url for each in made} == {packing.CDS, packing.RDS, packing.LDS}
    assert all(each.problem is None for each in made)
