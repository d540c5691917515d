"""Which virtual host and which route takes a request."""

from __future__ import annotations

from fractions import Fraction

import pytest

from explain import route_table
from explain.request import Request
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.type.v3.percent_pb2 import FractionalPercent


def a_table(*domains: str) -> RouteConfiguration:
    made = RouteConfiguration(name="table")
    for each in domains:
        host = made.virtual_hosts.add(name=each)
        host.domains.append(each)
    return made


@pytest.mark.parametrize(
    ("authority", "domain"),
    [
        ("shop.example.com", "shop.example.com"),
        ("SHOP.example.com", "shop.example.com"),
        ("a.b.example.com", "*.b.example.com"),
        ("x.example.com", "*.example.com"),
        ("example.com", "*"),
        ("shop.example.com:8080", "shop.example.com:*"),
        ("anything", "*"),
    ],
)
def test_the_most_specific_domain_wins(authority: str, domain: str) -> None:
    table = a_table("*", "*.example.com", "*.b.example.com", "shop.example.com:*", "shop.example.com")
    assert route_table.virtual_host(table, authority)[1] == domain


def test_a_port_is_ignored_where_the_table_says_so() -> None:
    table = a_table("shop.example.com")
    assert route_table.virtual_host(table, "shop.example.com:443")[0] is None
    table.ignore_port_in_host_matching = True
    assert route_table.virtual_host(table, "shop.example.com:443")[1] == "shop.example.com"


@pytest.mark.parametrize(
    ("authority", "bare"),
    [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:x", "a:x")],
)
def test_the_port_of_an_authority(authority: str, bare: str) -> None:
    assert route_table.without_port(authority) == bare


def test_fractions_add_up() -> None:
    table = a_table("*")
    for millionths in (200_000, 400_000):
        route = table.virtual_hosts[0].routes.add()
        route.match.prefix = "/"
        route.match.runtime_fraction.default_value.numerator = millionths
        route.match.runtime_fraction.default_value.denominator = FractionalPercent.MILLION
    found = route_table.look_up(table, Request("GET", "/", "a"))
    assert [each.share for each in found.taken] == [Fraction(1, 5), Fraction(1, 5)]
    assert found.found == Fraction(2, 5)
    table.virtual_hosts[0].routes.add().match.prefix = ""
    assert route_table.look_up(table, Request("GET", "/", "a")).found == 1


@pytest.mark.parametrize(
    ("path", "takes"), [("/a", True), ("/a/", True), ("/a/b?x=1", True), ("/ab", False), ("/", False)]
)
def test_prefixes_are_of_elements(path: str, takes: bool) -> None:
    route = Route()
    route.match.path_separated_prefix = "/a"
    assert (route_table.mismatch(route.match, Request("GET", path, "a")) == "") is takes


def test_what_does_not_fit_is_told_without_what_is_secret() -> None:
    route = Route()
    route.match.prefix = "/"
    route.match.headers.add(name="authorization").string_match.exact = "Bearer abc"
    why = route_table.mismatch(route.match, Request("GET", "/", "a", (("authorization", "Bearer xyz"),)))
    assert "Bearer" not in why
    assert "Bearer" not in route_table.conditions(route.match)
    other = Route()
    other.match.headers.add(name="x-tenant").string_match.exact = "gold"
    other.match.prefix = "/"
    assert route_table.mismatch(other.match, Request("GET", "/", "a", (("x-tenant", "tin"),))) == (
        "wants header x-tenant = gold, but it is tin"
    )


def test_one_of_several_values_of_a_header_is_enough() -> None:
    route = Route()
    route.match.prefix = "/"
    route.match.headers.add(name="x").string_match.exact = "b"
    assert not route_table.mismatch(route.match, Request("GET", "/", "a", (("x", "a"), ("x", "b"))))
    assert route_table.mismatch(route.match, Request("GET", "/", "a", (("x", "a,b"),)))
