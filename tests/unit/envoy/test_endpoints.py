from __future__ import annotations

import time

from envoy.endpoints import load_assignment, reachable_without_sidecar
from mesh.service import Service
from mesh.views import EndpointsView, endpoints_views
from mesh.workload import Health, Locality, Workload
from pb.envoy.config.core.v3.health_check_pb2 import HEALTHY
from pb.envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from tests.support.builders import a_key, a_service, a_state, a_workload


def view(*values: Service | Workload) -> EndpointsView:
    return next(iter(endpoints_views(a_state(a_service("api"), *values), a_key("api"))))


def all_of(made: ClusterLoadAssignment) -> list[LbEndpoint]:
    return [each for group in made.endpoints for each in group.lb_endpoints]


def ports(made: ClusterLoadAssignment) -> list[int]:
    return [each.endpoint.address.socket_address.port_value for each in all_of(made)]


def test_a_meshed_endpoint_says_so_and_is_its_sidecar() -> None:
    meshed = a_workload("api-1", app=9001, sidecar=15101, meshed=True)
    made = load_assignment(view(meshed, a_workload("api-2", app=9002)))
    assert made.cluster_name == "default/api:80"
    assert ports(made) == [15101, 9002]
    said = [dict(each.metadata.filter_metadata) for each in all_of(made)]
    assert dict(said[0]["envoy.transport_socket_match"]) == {"mtls": True}
    assert said[1] == {}


def test_endpoints_are_grouped_by_locality_in_an_order_that_does_not_depend_on_who_comes_first() -> None:
    a, b = Locality("eu", "a"), Locality("eu", "b", "rack")
    made = load_assignment(
        view(
            a_workload("api-1", app=1, locality=b, weight=7),
            a_workload("api-2", app=2, locality=a),
            a_workload("api-3", app=3, locality=b),
        )
    )
    groups = [(each.locality.region, each.locality.zone, each.locality.sub_zone) for each in made.endpoints]
    assert groups == [("eu", "a", ""), ("eu", "b", "rack")]
    assert ports(made) == [2, 1, 3]
    assert [each.load_balancing_weight.value for each in all_of(made)] == [1, 7, 1]


def test_one_that_warns_keeps_its_traffic_and_a_critical_one_has_none() -> None:
    made = load_assignment(
        view(
            a_workload("api-1", app=1, health=Health.WARNING, weight=3),
            a_workload("api-2", app=2, health=Health.CRITICAL),
            a_workload("api-3", app=3),
        )
    )
    assert ports(made) == [1, 3]
    assert [each.health_status for each in all_of(made)] == [HEALTHY, HEALTHY]
    assert [each.load_balancing_weight.value for each in all_of(made)] == [3, 1]


def test_a_critical_endpoint_that_came_this_far_is_still_left_out() -> None:
    seen = view(a_workload("api-1", app=1))
    critical = EndpointsView(
        seen.service,
        seen.port,
        tuple(
            type(each)(each.workload, each.address, each.port, "api", meshed=False, health=Health.CRITICAL)
            for each in seen.endpoints
        ),
    )
    assert ports(load_assignment(critical)) == []


def test_a_client_without_mesh_tls_gets_only_those_that_take_none() -> None:
    seen = view(a_workload("api-1", app=1, sidecar=2, meshed=True), a_workload("api-2", app=3))
    assert ports(reachable_without_sidecar(seen)) == [3]


def test_no_endpoints_is_an_assignment_too() -> None:
    made = load_assignment(view())
    assert made.cluster_name == "default/api:80"
    assert not made.endpoints


def test_a_thousand_endpoints_are_built_in_milliseconds() -> None:
    """About 1.5 ms on an idle core; the bound leaves room for busy machines and still catches a wrong way to build."""
    seen = view(*(a_workload(f"api-{number}", sidecar=15101, meshed=True) for number in range(1000)))
    best = 1.0
    for _ in range(10):
        began = time.perf_counter()
        load_assignment(seen)
        best = min(best, time.perf_counter() - began)
    assert best < 0.006
