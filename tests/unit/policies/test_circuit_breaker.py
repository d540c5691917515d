from __future__ import annotations

import pytest

from envoy import clusters
from envoy.seams import NOTHING
from mesh.views import service_view
from pb.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import RoutingPriority
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from policies import retry
from policies.circuit_breaker import EXAMPLE, KIND
from tests.support.builders import a_service, a_state
from tests.support.policy_documents import API, CALLER, accepted, added, refusals


def limits(fields: str) -> dict[int, CircuitBreakers.Thresholds]:
    made = Cluster.FromString(added(KIND, fields, CALLER).cluster).circuit_breakers
    return {each.priority: each for each in made.thresholds}


def test_what_is_said_and_nothing_else() -> None:
    made = limits("{connections: 5, requests: 0}")
    assert list(made) == [RoutingPriority.DEFAULT]
    default = made[RoutingPriority.DEFAULT]
    assert default.max_connections.value == 5
    assert default.HasField("max_requests"), "none at all is a limit too"
    assert not default.HasField("max_retries")


def test_both_priorities() -> None:
    made = limits("{requests: 1, high: {requests: 9, pendingRequests: 3, retries: 2}}")
    assert made[RoutingPriority.DEFAULT].max_requests.value == 1
    high = made[RoutingPriority.HIGH]
    assert (high.max_requests.value, high.max_pending_requests.value, high.max_retries.value) == (9, 3, 2)


def test_a_priority_is_the_routes() -> None:
    parts = added(KIND, "{priority: high}", CALLER)
    assert RouteAction.FromString(parts.action).priority == RoutingPriority.HIGH
    assert not parts.cluster


def test_connections_to_each_endpoint() -> None:
    made = Cluster.FromString(added(KIND, "{connectionsPerEndpoint: 3}", CALLER).cluster)
    assert made.circuit_breakers.per_host_thresholds[0].max_connections.value == 3


def test_nothing_said_is_nothing_done() -> None:
    assert added(KIND, "{}", CALLER) == NOTHING


def test_limits_and_the_budget_of_retries_are_one_threshold() -> None:
    parts = added(KIND, "{requests: 7}", CALLER) + added(retry.KIND, "{budget: {percent: 25}}", CALLER)
    view = service_view(a_state(a_service()), API)
    default, high = clusters.outbound(view, view.ports[0], parts).circuit_breakers.thresholds
    assert (default.priority, high.priority) == (RoutingPriority.DEFAULT, RoutingPriority.HIGH)
    assert default.max_requests.value == 7
    assert default.retry_budget.budget_percent.value == 25
    assert default.max_connections.value == high.max_requests.value == clusters.UNLIMITED


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("connections: 0", "spec.connections: without a connection no request can ever pass. Use 1 or more"),
        (
            "connectionsPerEndpoint: 0",
            "spec.connectionsPerEndpoint: without a connection no request can ever pass. Use 1 or more",
        ),
        ("requests: -1", "spec.requests: -1 is too small. Use 0 or more"),
        ("requests: '5'", "spec.requests: '5' is text. Give a whole number"),
        (
            "pendingRequests: 4294967296",
            "spec.pendingRequests: 4294967296 is too large. Use 4294967295 or less",
        ),
        ("priority: low", "spec.priority: 'low' is not known here. Use default or high"),
        (
            "high: {priority: high}",
            "spec.high.priority: unknown field 'priority'. Known here: connections, pendingRequests, requests, retries",
        ),
        (
            "maxRequests: 5",
            "spec.maxRequests: unknown field 'maxRequests'. Did you mean requests? Known here: connections, pendingRequests, requests, retries, connectionsPerEndpoint, high, priority, targetRefs, from, enforced",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("CircuitBreaker", spec) == [said]


def test_a_route_has_no_limits_of_its_own() -> None:
    assert refusals("CircuitBreaker", "requests: 5", "[{kind: HTTPRoute, name: r}]") == [
        (
            "spec.targetRefs[0]: limits are those of a whole service, whichever route leads to it; a route has only a priority. "
            "Target the service, or leave only priority"
        )
    ]
    assert refusals("CircuitBreaker", "priority: high", "[{kind: HTTPRoute, name: r}]") == []
    assert refusals("CircuitBreaker", "priority: high", "[{kind: TCPRoute, name: r}]") == [
        "spec.targetRefs[0]: a TCPRoute has connections, and no requests of any priority. Target an HTTPRoute or GRPCRoute"
    ]


def test_the_example() -> None:
    accepted(EXAMPLE)
