"""CircuitBreaker: how much callers may have under way to a service at once; what is beyond fails at once. Enforced by the caller.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/circuit_breaking
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from envoy.seams import Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import RoutingPriority
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from policies.document import ROUTES, WITHOUT_REQUESTS, PolicyDocument, Targeting
from policies.fields import Count
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: CircuitBreaker
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  connections: 200
  pendingRequests: 50
  requests: 400
  retries: 20
"""


class LimitFields(Part):
    connections: Count | None = Field(
        None,
        description="Connections at once that one caller's sidecar holds to the service, over all endpoints. A request that would need "
        "one more waits for one (see `pendingRequests`); a TCP connection is closed. By default unlimited.",
    )
    pending_requests: Count | None = Field(
        None,
        description="Requests that wait for a connection, also those whose connection is being opened. One more is answered with 503 and `x-envoy-overloaded: true`. By default unlimited.",
    )
    requests: Count | None = Field(
        None,
        description="Requests under way at once, whatever number of connections they share. One more is answered with 503. By default unlimited.",
    )
    retries: Count | None = Field(
        None,
        description="Retries under way at once; beyond it a failed try is final. Without effect where a RetryPolicy has a `budget`. By "
        "default unlimited.",
    )


class CircuitBreakerFields(LimitFields):
    connections_per_endpoint: Count | None = Field(
        None, description="Connections at once to any one endpoint. By default unlimited."
    )
    high: LimitFields | None = Field(
        None,
        description="The same limits for requests of priority `high`, which are counted by themselves: what is important still passes "
        "where the limits of all else are reached.",
    )
    priority: Literal["default", "high"] | None = Field(
        None,
        description="Against which limits the requests to the target count. Set it to `high` on a route. By default `default`.",
    )


class CircuitBreakerSpec(Targeting, CircuitBreakerFields):
    pass


class CircuitBreaker(PolicyDocument):
    """How much each caller may have under way to a service at once. What is beyond fails at once, instead of waiting on a service that cannot keep up.

    Each caller's sidecar counts by itself; its worker threads share the count and may exceed it for a moment. A mesh sets no limit
    unless a policy does: Envoy's own defaults (1,024 requests and connections, 3 retries) are lifted.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["CircuitBreaker"]
    spec: CircuitBreakerSpec

    def own_problems(self) -> Iterator[Problem]:
        limits = sorted(self.spec.model_fields_set & _LIMITS)
        for place, ref in enumerate(self.spec.target_refs):
            if ref.kind in ROUTES and limits:
                yield Problem(
                    ("spec", "targetRefs", place),
                    "limits are those of a whole service, whichever route leads to it; a route has only a priority",
                    "Target the service, or leave only priority",
                )
            elif ref.kind in WITHOUT_REQUESTS:
                yield Problem(
                    ("spec", "targetRefs", place),
                    f"a {ref.kind} has connections, and no requests of any priority",
                    "Target an HTTPRoute or GRPCRoute",
                )
        if self.spec.connections == 0 or self.spec.connections_per_endpoint == 0:
            yield Problem(
                ("spec", "connections" if self.spec.connections == 0 else "connectionsPerEndpoint"),
                "without a connection no request can ever pass",
                "Use 1 or more",
            )


_LIMITS = set(CircuitBreakerFields.model_fields) - {"priority"}


def effect(fields: CircuitBreakerFields, where: Where) -> Parts:
    """`where.route` gives a priority only: the limits are the cluster's."""
    del where
    cluster, action = Cluster(), RouteAction()
    _limits(cluster, RoutingPriority.DEFAULT, fields)
    if fields.high is not None:
        _limits(cluster, RoutingPriority.HIGH, fields.high)
    if fields.connections_per_endpoint is not None:
        each = cluster.circuit_breakers.per_host_thresholds.add()
        each.max_connections.value = fields.connections_per_endpoint
    if fields.priority is not None:
        action.priority = RoutingPriority.HIGH if fields.priority == "high" else RoutingPriority.DEFAULT
    return Parts(cluster=serialised(cluster), action=serialised(action))


def _limits(cluster: Cluster, priority: RoutingPriority.ValueType, fields: LimitFields) -> None:
    made = CircuitBreakers.Thresholds(priority=priority)
    for value, target in (
        (fields.connections, made.max_connections),
        (fields.pending_requests, made.max_pending_requests),
        (fields.requests, made.max_requests),
        (fields.retries, made.max_retries),
    ):
        if value is not None:
            target.value = value
            target.SetInParent()  # a limit of zero is one too
    if made.ByteSize():
        made.track_remaining = True
        cluster.circuit_breakers.thresholds.append(made)


KIND = PolicyKind(
    CircuitBreaker, CircuitBreakerFields, Side.CALLER, effect, levels=ANYWHERE - {Level.WORKLOAD}
)
