"""TimeoutPolicy: how long a request, a try of it, a stream or a connection may take. Enforced by the caller.

https://www.envoyproxy.io/docs/envoy/v1.40.0/faq/configuration/timeouts
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part
from envoy.seams import Parts, serialised
from mesh.rules import RuleView
from mesh.targeting import Level
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from policies.document import PolicyDocument, Targeting
from policies.fields import Duration, PositiveDuration, seconds, set_duration, text
from policies.kind import ANYWHERE, PolicyKind, Side, Where


class TimeoutFields(Part):
    request: Duration | None = Field(
        None,
        description="From the last byte of the request to the last of the answer, all tries together. 0s: none.",
    )
    per_try: PositiveDuration | None = Field(None, description="For one try; then it counts as failed.")
    idle: Duration | None = Field(None, description="Without a byte either way, on one request. 0s: none.")
    stream: Duration | None = Field(None, description="The life of one stream, as of gRPC. 0s: none.")
    connect: PositiveDuration | None = Field(None, description="To open a connection, TLS included.")


class TimeoutSpec(Targeting, TimeoutFields):
    pass


class TimeoutPolicy(PolicyDocument):
    """How long things may take."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["TimeoutPolicy"]
    spec: TimeoutSpec


def effect(fields: TimeoutFields, where: Where) -> Parts:
    del where
    cluster, action = Cluster(), RouteAction()
    if fields.connect is not None:
        set_duration(cluster.connect_timeout, fields.connect)
    if fields.request is not None:
        set_duration(action.timeout, fields.request)
    if fields.per_try is not None:
        # Without a retry policy of its own there is none to put it in, so Envoy's default conditions are kept out of it.
        set_duration(action.retry_policy.per_try_timeout, fields.per_try)
    if fields.idle is not None:
        set_duration(action.idle_timeout, fields.idle)
    if fields.stream is not None:
        # Where a stream duration is given, Envoy does not look at the timeout: the shorter of the two is the life of the stream.
        both = [each for each in (fields.stream, fields.request) if each is not None and seconds(each)]
        set_duration(action.max_stream_duration.max_stream_duration, min(both, key=seconds, default="0s"))
    return Parts(cluster=serialised(cluster), action=serialised(action))


def inline(rule: RuleView) -> dict[str, object]:
    """`timeouts` of a rule: `backendRequest` is for one try (https://gateway-api.sigs.k8s.io/geps/gep-1742/)."""
    found: dict[str, object] = {}
    if rule.timeouts is not None and rule.timeouts.request is not None:
        found["request"] = text(rule.timeouts.request)
    if rule.timeouts is not None and rule.timeouts.backend_request:
        found["perTry"] = text(rule.timeouts.backend_request)
    return found


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  request: 2s
  perTry: 500ms
  idle: 30s
  connect: 1s
"""

KIND = PolicyKind(
    TimeoutPolicy,
    TimeoutFields,
    Side.CALLER,
    effect,
    levels=ANYWHERE - {Level.WORKLOAD},
    inline=inline,
)
