"""ConnectionLimit: how many connections a sidecar takes at once for its application. Enforced by the callee.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/network_filters/connection_limit_filter
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from envoy.packing import pack
from envoy.seams import Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.listener.v3.listener_components_pb2 import Filter
from pb.envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import (
    ConnectionLimit as ConnectionLimitFilter,
)
from policies.document import PolicyDocument, Targeting
from policies.fields import Duration, Positive, set_duration
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: ConnectionLimit
metadata: {name: db}
spec:
  targetRefs: [{kind: Service, name: db}]
  connections: 100
"""

FILTER: Final = "envoy.filters.network.connection_limit"


class ConnectionLimitFields(Part):
    connections: Positive | None = Field(
        None,
        description="Connections at once that each sidecar of the target takes for one port of a service; further ones are closed. A caller's "
        "sidecar keeps several connections for HTTP, on which requests share: count with some for each caller.",
    )
    delay: Duration | None = Field(
        None,
        description="How long a refused connection stays open before it is closed, so that a caller which tries again at once is "
        "slowed down. By default 0s.",
    )


class ConnectionLimitSpec(Targeting, ConnectionLimitFields):
    pass


class ConnectionLimit(PolicyDocument):
    """How many connections a workload takes at once.

    A new or changed policy counts connections anew: those that are open are drained, within 45 seconds.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["ConnectionLimit"]
    spec: ConnectionLimitSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from self.callers_not_told_apart()


def effect(fields: ConnectionLimitFields, where: Where) -> Parts:
    """A change of the limit drains the connections of that port, as every change of a filter chain does."""
    if fields.connections is None:
        raise ValueError("no policy says how many: give connections")
    limit = ConnectionLimitFilter(stat_prefix=f"{where.service}:{where.port}")
    limit.max_connections.value = fields.connections
    if fields.delay is not None:
        set_duration(limit.delay, fields.delay)
    made = Filter(name=FILTER)
    pack(made.typed_config, limit)
    return Parts(network_filters=(serialised(made),))


KIND: Final = PolicyKind(
    ConnectionLimit, ConnectionLimitFields, Side.CALLEE, effect, levels=ANYWHERE - {Level.ROUTE}
)
