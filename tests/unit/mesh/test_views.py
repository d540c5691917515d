from __future__ import annotations

from mesh.names import Key
from mesh.service import Protocol
from mesh.views import (
    InboundPort,
    LocalListener,
    OutboundScope,
    Served,
    endpoints_views,
    inbound_view,
    outbound_listeners_view,
    outbound_scope,
    scope_view,
    service_view,
)
from mesh.workload import Use, WorkloadPort
from tests.support.builders import HTTP, a_key, a_port, a_proxy, a_service, a_state, a_workload

API, STORE = a_key("api"), a_key("store")
SQL = a_port("sql", 5432, Protocol.TCP)


def test_a_service_as_its_callers_see_it() -> None:
    state = a_state(
        a_service(address="240.1.2.3"), a_workload("api-1", service_account="b"), a_workload("api-2")
    )
    view = service_view(state, API)
    assert view.identities == ("spiffe://mesh.test/ns/default/sa/api", "spiffe://mesh.test/ns/default/sa/b")


def test_one_view_of_endpoints_for_each_port() -> None:
    state = a_state(a_service("api", HTTP, SQL), a_workload("api-1"))
    assert [(view.port, len(view.endpoints)) for view in endpoints_views(state, API)] == [(HTTP, 1), (SQL, 0)]


def test_a_service_without_http_has_no_host_names() -> None:
    state = a_state(a_service("api", SQL), a_service("web"))
    assert scope_view(state, API, "default") is None
    assert scope_view(state, a_key("web"), "other") is not None


def test_proxies_that_use_the_same_share_a_scope() -> None:
    first, second = a_proxy("web-1", uses=("api", "store", "api")), a_proxy("web-2", uses=("store", "api"))
    assert (
        outbound_scope(a_state(), first)
        == outbound_scope(a_state(), second)
        == OutboundScope("default", (API, STORE))
    )
    everything = outbound_scope(a_state(), a_proxy("web-3"))
    assert everything.admits(Key("anywhere", "anything"))
    assert not outbound_scope(a_state(), a_proxy("web-4", uses=())).admits(API)


def test_local_listeners_are_those_that_lead_somewhere() -> None:
    state = a_state(a_service("api"), a_service("store", HTTP, SQL))
    workload = a_proxy(
        "web-1",
        uses=(
            Use(API, None, 9100),
            Use(STORE, "sql", 9101),
            Use(STORE, None, 9102),  # which of two ports?
            Use(STORE, "nope", 9103),
            Use(a_key("nobody"), None, 9104),
            Use(STORE),
        ),
    )
    view = outbound_listeners_view(state, workload)
    assert view.local == (LocalListener(9100, API, HTTP), LocalListener(9101, STORE, SQL))
    assert view.bind == "127.0.0.1"
    assert outbound_listeners_view(state, a_proxy("web-1", address="10.0.0.1")).bind == "127.0.0.1"
    assert outbound_listeners_view(state, a_proxy("web-1", address="127.0.0.9")).bind == "127.0.0.9"


def test_inbound_ports_are_grouped_by_the_sidecars_port() -> None:
    state = a_state(a_service("api"), a_service("web", a_port("http", 8080)))
    workload = a_proxy("api-1", services=("api", "web", "undeclared"))
    view = inbound_view(state, workload)
    assert view.bind == "127.0.0.1"
    assert view.ports == (
        InboundPort(
            15101,
            "http",
            Protocol.HTTP,
            (Served(API, HTTP, 9001), Served(a_key("web"), a_port("http", 8080), 9001)),
        ),
    )
    assert inbound_view(state, a_proxy("api-1", address="10.0.0.1")).bind == "0.0.0.0"
    assert inbound_view(state, a_proxy("api-1", address="fd00::1")).bind == "::"
    assert inbound_view(state, a_workload("api-1", sidecar=15101)).ports == ()


def test_a_port_without_a_sidecars_is_not_taken() -> None:
    workload = a_workload("api-1", ports=(WorkloadPort("http", 9001),), meshed=True)
    assert inbound_view(a_state(a_service()), workload).ports == ()
