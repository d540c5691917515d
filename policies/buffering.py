"""Buffering: the application gets a request only when all of it is there, and none that is too large. Enforced by the callee.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/buffer_filter
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from envoy.packing import pack, type_url
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from mesh.service import Protocol
from mesh.targeting import Level
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer, BufferPerRoute
from policies.document import PolicyDocument, Targeting
from policies.fields import Positive
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Buffering
metadata: {name: uploads}
spec:
  targetRefs: [{kind: Service, name: uploads}]
  maxRequestBytes: 1048576
"""


def _standing() -> bytes:
    """The filter wants a size even where it is disabled; routes say their own."""
    made = Buffer()
    made.max_request_bytes.value = 1
    return serialised(made)


FILTER: Final = HttpFilter(
    FilterOrder.BUFFERING, "envoy.filters.http.buffer", type_url(Buffer), _standing(), disabled=True
)


class BufferingFields(Part):
    max_request_bytes: Positive | None = Field(
        None,
        description="The largest body of a request, in bytes, that is held until it is complete; a larger one is answered with 413. "
        "Ports of gRPC are left alone, for their streams have no end to wait for; WebSockets do not pass a port with buffering.",
    )


class BufferingSpec(Targeting, BufferingFields):
    pass


class Buffering(PolicyDocument):
    """Requests reach the application whole, up to a size."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Buffering"]
    spec: BufferingSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from self.callers_not_told_apart()


def effect(fields: BufferingFields, where: Where) -> Parts:
    if not where.protocol.is_http or where.protocol is Protocol.GRPC:
        return NOTHING
    if fields.max_request_bytes is None:
        raise ValueError("no policy says how large a request may be: give maxRequestBytes")
    made, route = BufferPerRoute(), Route()
    made.buffer.max_request_bytes.value = fields.max_request_bytes
    pack(route.typed_per_filter_config[FILTER.name], made)
    return Parts(route=serialised(route))


KIND: Final = PolicyKind(
    Buffering, BufferingFields, Side.CALLEE, effect, filters=(FILTER,), levels=ANYWHERE - {Level.ROUTE}
)
