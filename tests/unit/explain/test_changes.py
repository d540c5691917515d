"""What a route makes of a request, and where a redirect leads."""

from __future__ import annotations

import pytest

from explain import changes
from explain.request import Request
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.route.v3.route_components_pb2 import RedirectAction, Route, RouteAction, RouteMatch

REQUEST = Request("GET", "/a/b?x=1", "shop:8080", (("x-a", "1"), ("x-b", "2")))


def test_headers_are_removed_before_others_are_added() -> None:
    route = Route()
    route.request_headers_to_remove.append("x-a")
    added = route.request_headers_to_add.add(append_action=HeaderValueOption.APPEND_IF_EXISTS_OR_ADD)
    added.header.key, added.header.value = "x-a", "100%%"
    kept = route.request_headers_to_add.add(append_action=HeaderValueOption.ADD_IF_ABSENT)
    kept.header.key, kept.header.value = "x-b", "other"
    assert changes.headers(REQUEST, (route,)).headers == (("x-b", "2"), ("x-a", "100%"))


def test_paths_and_hosts_are_rewritten() -> None:
    action = RouteAction(prefix_rewrite="/n", host_rewrite_literal="other")
    found = changes.rewritten(REQUEST, action, RouteMatch(path_separated_prefix="/a"))
    assert (found.path, found.authority) == ("/n/b?x=1", "other")
    action = RouteAction()
    action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution = "^/.*", "/full"
    assert changes.rewritten(REQUEST, action, RouteMatch(prefix="/")).path == "/full?x=1"


@pytest.mark.parametrize(
    ("redirect", "location"),
    [
        (RedirectAction(scheme_redirect="https"), "https://shop:8080/a/b?x=1"),
        (RedirectAction(port_redirect=443), "http://shop:443/a/b?x=1"),
        (RedirectAction(host_redirect="new"), "http://new/a/b?x=1"),
        (RedirectAction(path_redirect="/p"), "http://shop:8080/p?x=1"),
        (RedirectAction(path_redirect="/p?y=2"), "http://shop:8080/p?y=2"),
        (RedirectAction(prefix_rewrite="/n", strip_query=True), "http://shop:8080/n/b"),
    ],
)
def test_where_a_redirect_leads(redirect: RedirectAction, location: str) -> None:
    assert changes.location(REQUEST, redirect, RouteMatch(path_separated_prefix="/a")) == location


def test_the_well_known_port_of_another_scheme_is_left_out() -> None:
    request = Request("GET", "/", "shop:80")
    assert changes.location(request, RedirectAction(scheme_redirect="https"), RouteMatch()) == "https://shop/"
