from __future__ import annotations

import pytest

from mesh.attachment import Attached, NotAttached, intersection, listeners, ports
from mesh.gateways import (
    NAMESPACE_NAME,
    FromNamespaces,
    ListenerProtocol,
    Operator,
    Requirement,
    Selector,
)
from mesh.names import Key
from mesh.routes import RouteKind
from tests.support.builders import a_port, a_service
from tests.support.routes import a_gateway, a_listener, a_route, at_gateway, at_service

SERVICE = a_service(
    "api",
    a_port("http", 80, "http"),
    a_port("h2", 81, "http2"),
    a_port("grpc", 82, "grpc"),
    a_port("tls", 443, "tls"),
    a_port("tcp", 5432, "tcp"),
)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RouteKind.HTTP, ["http", "h2", "grpc"]),
        (RouteKind.GRPC, ["h2", "grpc"]),
        (RouteKind.TLS, ["tls"]),
        (RouteKind.TCP, ["tls", "tcp"]),
    ],
)
def test_a_route_applies_to_the_ports_that_speak_what_it_routes(kind: RouteKind, names: list[str]) -> None:
    assert [port.name for port in ports(a_route(kind=kind), at_service(), SERVICE)] == names


def test_a_parent_may_name_one_port() -> None:
    route = a_route()
    assert [port.name for port in ports(route, at_service(port=81), SERVICE)] == ["h2"]
    assert [port.name for port in ports(route, at_service(section="grpc"), SERVICE)] == ["grpc"]
    assert ports(route, at_service(port=80, section="grpc"), SERVICE) == ()
    assert ports(route, at_service(port=5432), SERVICE) == ()


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("a.example.com", "a.example.com", "a.example.com"),
        ("*.example.com", "a.example.com", "a.example.com"),
        ("*.example.com", "a.b.example.com", "a.b.example.com"),
        ("*.example.com", "*.b.example.com", "*.b.example.com"),
        ("*.example.com", "*.example.com", "*.example.com"),
        ("*.example.com", "example.com", None),
        ("*.example.com", "badexample.com", None),
        ("*.example.com", "*.com", "*.example.com"),
        ("a.example.com", "b.example.com", None),
        ("*.a.com", "*.b.com", None),
    ],
)
def test_the_host_names_that_two_have_in_common(one: str, other: str, common: str | None) -> None:
    assert intersection(one, other) == common
    assert intersection(other, one) == common


def test_a_listener_takes_what_it_and_the_route_have_in_common() -> None:
    any_name, some = a_listener("any"), a_listener("some", 81, hostname="*.example.com")
    other = a_listener("other", 82, hostname="other.net")
    gateway = a_gateway("gw", any_name, some, other)
    route = a_route(hostnames=["a.example.com", "b.net"])
    assert listeners(route, at_gateway(), gateway) == (
        Attached(any_name, ("a.example.com", "b.net")),
        Attached(some, ("a.example.com",)),
    )
    assert listeners(a_route(), at_gateway(), gateway) == (
        Attached(any_name),
        Attached(some, ("*.example.com",)),
        Attached(other, ("other.net",)),
    )


def test_a_parent_may_name_one_listener() -> None:
    one, two = a_listener("one", 80), a_listener("two", 81)
    gateway = a_gateway("gw", one, two)
    assert listeners(a_route(), at_gateway(section="two"), gateway) == (Attached(two),)
    assert listeners(a_route(), at_gateway(port=80), gateway) == (Attached(one),)
    assert listeners(a_route(), at_gateway(port=80, section="two"), gateway) == NotAttached(
        "NoMatchingParent", "no listener of Gateway default/gw:80#two: it has one at 80, two at 81"
    )


def test_host_names_mean_nothing_to_tcp() -> None:
    listener = a_listener("db", 5432, ListenerProtocol.TCP, kinds=[RouteKind.TCP])
    route = a_route(kind=RouteKind.TCP)
    assert listeners(route, at_gateway(), a_gateway("gw", listener)) == (Attached(listener),)


def test_a_route_without_a_host_name_in_common_is_told_so() -> None:
    gateway = a_gateway("gw", a_listener(hostname="a.com"))
    assert listeners(a_route(hostnames=["b.com"]), at_gateway(), gateway) == NotAttached(
        "NoMatchingListenerHostname", "no hostname of the route is one of Gateway default/gw, which has a.com"
    )


@pytest.mark.parametrize(
    ("namespaces", "selector", "taken"),
    [
        (FromNamespaces.SAME, None, ["default"]),
        (FromNamespaces.ALL, None, ["default", "shop", "test"]),
        (FromNamespaces.SELECTOR, Selector((Requirement(NAMESPACE_NAME, Operator.IN, ("shop",)),)), ["shop"]),
        (
            FromNamespaces.SELECTOR,
            Selector((Requirement("stage", Operator.NOT_IN, ("prod",)),)),
            ["default", "test"],
        ),
        (FromNamespaces.SELECTOR, Selector((Requirement("stage", Operator.EXISTS),)), ["shop"]),
        (
            FromNamespaces.SELECTOR,
            Selector((Requirement("stage", Operator.DOES_NOT_EXIST),)),
            ["default", "test"],
        ),
        (FromNamespaces.SELECTOR, Selector(), ["default", "shop", "test"]),
    ],
)
def test_a_listener_takes_routes_of_the_namespaces_that_it_allows(
    namespaces: FromNamespaces, selector: Selector | None, taken: list[str]
) -> None:
    gateway = a_gateway("gw", a_listener(namespaces=namespaces, selector=selector))
    labels = {"shop": (("stage", "prod"),)}
    found = [
        namespace
        for namespace in ("default", "shop", "test")
        if not isinstance(
            listeners(a_route(f"{namespace}/r"), at_gateway(), gateway, lambda name: labels.get(name, ())),
            NotAttached,
        )
    ]
    assert found == taken


def test_a_listener_takes_routes_of_the_kinds_that_it_allows() -> None:
    gateway = a_gateway("gw", a_listener(kinds=[RouteKind.HTTP]))
    assert listeners(a_route("shop/r", kind=RouteKind.GRPC), at_gateway(), gateway) == NotAttached(
        "NotAllowedByListeners",
        "Gateway default/gw takes no GRPCRoute of namespace shop: see allowedRoutes of its listeners",
    )
    assert gateway.key == Key("default", "gw")
