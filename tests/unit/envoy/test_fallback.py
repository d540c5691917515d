"""Hosts that no scope leads to: what is added for them, and when."""

from __future__ import annotations

from dataclasses import replace

from envoy import capture, fallback, names
from envoy.seams import NOTHING, ListenerSeams, Parts
from mesh.external import External
from mesh.interception import Interception
from mesh.views import OutboundListenersView, outbound_listeners_view
from mesh.virtual import virtual_view
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from tests.support.builders import a_key, a_proxy, a_service, a_state

ALLOW = Parts(unknown=Route(name=names.UNKNOWN).SerializeToString())


def view(*hosts: str, interception: Interception | None = None) -> OutboundListenersView:
    state = a_state(replace(a_service("shops"), external=External(hosts)))
    return outbound_listeners_view(state, replace(a_proxy("web-1"), interception=interception))


def test_whoever_may_call_no_such_host_pays_nothing() -> None:
    plain = view("a.example.com")
    assert fallback.filters(plain, NOTHING) == ()
    assert list(fallback.resources(plain, NOTHING)) == []


def test_a_wildcard_is_a_virtual_host_of_the_scope_of_such_hosts() -> None:
    scope, made = fallback.resources(view("*.example.com"), NOTHING)
    assert isinstance(scope, ScopedRouteConfiguration)
    assert isinstance(made, RouteConfiguration)
    assert scope.key.fragments[0].string_key == "*"
    assert scope.name != "*", "that would subscribe to everything"
    assert scope.route_configuration_name == made.name
    (host,) = made.virtual_hosts
    assert list(host.domains) == ["*.example.com", "*.example.com:80"]
    assert host.routes[0].route.cluster == "default/shops:80"


def test_unknown_hosts_come_last_and_names_of_the_mesh_are_not_among_them() -> None:
    cluster, _, made = fallback.resources(view("*.example.com"), ALLOW)
    assert isinstance(cluster, Cluster)
    assert isinstance(made, RouteConfiguration)
    _, unknown = made.virtual_hosts
    assert list(unknown.domains) == ["*"]
    refused, allowed = unknown.routes
    assert refused.direct_response.status == 404
    assert allowed.route.cluster == cluster.name == names.UNKNOWN


def test_intercepted_connections_to_unknown_addresses_are_refused_if_a_policy_says_so() -> None:
    intercepted = view("a.example.com", interception=Interception())
    (passed, _) = capture.outbound(intercepted, ListenerSeams())
    (refused, _) = capture.outbound(intercepted, ListenerSeams(outbound=Parts(refuse_unknown=True)))
    assert passed.HasField("default_filter_chain")
    assert not refused.HasField("default_filter_chain")


def test_a_host_outside_has_a_virtual_address_and_a_wildcard_has_none() -> None:
    state = a_state(
        replace(a_service("pay"), external=External(("pay.example.com",))),
        replace(a_service("shops"), external=External(("*.example.com",))),
    )
    found = virtual_view(state, a_key("pay"), "default")
    assert found is not None
    assert found.names == ("pay.example.com",)
    assert virtual_view(state, a_key("shops"), "default") is None
