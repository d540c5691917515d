"""One example of each part that a policy may give."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from envoy import connection, packing
from envoy.render import Rendered, Renderer
from envoy.seams import ExtraResource, FilterOrder, HttpFilter, ListenerSeams, Parts, ServiceSeams, serialised
from mesh.views import inbound_view, service_view
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from tests.support.builders import a_proxy, a_service, a_state

FAULT = HttpFilter(
    FilterOrder.FAULT,
    "envoy.filters.http.fault",
    packing.type_url(HTTPFault),
    HTTPFault().SerializeToString(),
    disabled=True,
)
ACCESS = HttpFilter(
    FilterOrder.AUTHORIZATION,
    "envoy.filters.http.rbac",
    packing.type_url(RBAC),
    RBAC().SerializeToString(),
)
HELPER = Cluster(name="helper").SerializeToString()
ROUTE = Route()
packing.pack(ROUTE.typed_per_filter_config[FAULT.name], HTTPFault())
SEAMS = ServiceSeams(
    Parts(
        route=serialised(ROUTE),
        cluster=serialised(Cluster(connect_timeout=Duration(seconds=1))),
        resources=(ExtraResource(packing.CDS, "helper", HELPER, origin=("policies.yaml: FaultPolicy x",)),),
    )
)
LISTENERS = ListenerSeams(filters=(FAULT, ACCESS))
STATE = a_state(a_service("api"), a_proxy("api-1"))
API = next(iter(STATE.services))


def find(rendered: tuple[Rendered, ...], type_url: str) -> list[Rendered]:
    return [each for each in rendered if each.type_url == type_url]


def test_filters_stand_in_their_declared_order_before_the_router() -> None:
    made = Renderer().inbound(inbound_view(STATE, next(iter(STATE.workloads.values()))), LISTENERS)
    (listener,) = find(made, packing.LDS)
    assert listener.problem is None
    config = Listener.FromString(listener.body).filter_chains[0].filters[0].typed_config
    filters = HttpConnectionManager.FromString(config.value).http_filters
    assert [each.name for each in filters] == [ACCESS.name, FAULT.name, connection.ROUTER]
    assert [each.disabled for each in filters] == [False, True, False]


def test_a_route_configures_them_and_extra_resources_come_along_with_their_own_provenance() -> None:
    made = Renderer().service(service_view(STATE, API), SEAMS)
    (first, *_) = find(made, packing.RDS)
    route = RouteConfiguration.FromString(first.body).virtual_hosts[0].routes[0]
    assert route.typed_per_filter_config[FAULT.name].type_url == FAULT.type_url
    api, helper = find(made, packing.CDS)
    assert Cluster.FromString(api.body).connect_timeout.seconds == 1
    assert (helper.name, helper.body, helper.origin) == ("helper", HELPER, ("policies.yaml: FaultPolicy x",))


def test_policies_are_part_of_the_input_that_a_rendering_is_remembered_by() -> None:
    renderer = Renderer()
    view = service_view(STATE, API)
    assert renderer.service(view) != renderer.service(view, SEAMS)
    renderer.service(view, SEAMS)
    assert renderer.renderings["service"] == 2


def test_a_filter_that_a_policy_gives_takes_the_place_of_the_disabled_one() -> None:
    own = HttpFilter(FAULT.order, FAULT.name, FAULT.type_url, FAULT.config)
    workload = next(iter(STATE.workloads.values()))
    view = inbound_view(STATE, workload)
    chain = f"{API}:80"
    made = Renderer().inbound(
        view, ListenerSeams(inbound=((chain, Parts(http_filters=(own,))),), filters=(FAULT,))
    )
    (listener,) = find(made, packing.LDS)
    config = Listener.FromString(listener.body).filter_chains[0].filters[0].typed_config
    filters = HttpConnectionManager.FromString(config.value).http_filters
    assert [(each.name, each.disabled) for each in filters] == [
        (FAULT.name, False),
        (connection.ROUTER, False),
    ]
