"""FaultInjection: some requests are delayed, refused or answered slowly, on purpose. Enforced by the caller.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/fault_filter
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from envoy.packing import pack, type_url
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from policies.document import PolicyDocument, Targeting
from policies.fields import Percent, Positive, PositiveDuration, set_duration, set_percent
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.matching import HeaderMatchFields

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: FaultInjection
metadata: {name: slow-and-broken-api}
spec:
  targetRefs: [{kind: Service, name: api}]
  from: [{service: web}]
  headers: [{name: x-chaos, value: "yes"}]
  delay: {fixed: 2s, percent: 10}
  abort: {httpStatus: 503, percent: 1}
"""

FILTER: Final = HttpFilter(
    FilterOrder.FAULT, "envoy.filters.http.fault", type_url(HTTPFault), b"", disabled=True
)


class DelayFields(Part):
    fixed: PositiveDuration | None = Field(
        None, description="How long a request waits before it is sent. Without it there is no delay."
    )
    percent: Percent | None = Field(None, description="Of the requests. By default 100.")


class AbortFields(Part):
    http_status: int | None = Field(
        None,
        ge=200,
        le=599,
        description="The HTTP status of the answer. Either this or grpcStatus; without one nothing is refused.",
    )
    grpc_status: int | None = Field(
        None, ge=1, le=16, description="The gRPC status of the answer, for example 14 for UNAVAILABLE."
    )
    percent: Percent | None = Field(None, description="Of the requests. By default 100.")


class ResponseRateFields(Part):
    kbps: Positive | None = Field(
        None,
        description="KiB of an answer's body that pass in a second. Without it answers are as fast as ever.",
    )
    percent: Percent | None = Field(None, description="Of the answers. By default 100.")


class FaultFields(Part):
    delay: DelayFields | None = Field(None, description="Requests are late.")
    abort: AbortFields | None = Field(
        None,
        description="Requests are answered by the caller's sidecar and never sent. They are not retried: retries begin where a request is sent.",
    )
    response_rate: ResponseRateFields | None = Field(None, description="Answers are slow.")
    headers: list[HeaderMatchFields] | None = Field(
        None, description="Only requests that have all of these headers. By default all requests."
    )
    max_active: Positive | None = Field(
        None, description="Faults at once in one sidecar at most. By default without limit."
    )


class FaultSpec(Targeting, FaultFields):
    pass


class FaultInjection(PolicyDocument):
    """Requests that are delayed, refused or answered slowly, on purpose.

    Of several policies that concern a call the nearest alone applies, as a whole: its faults never meet the conditions of another.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["FaultInjection"]
    spec: FaultSpec

    def own_problems(self) -> Iterator[Problem]:
        abort = self.spec.abort
        if abort is not None and abort.http_status is not None and abort.grpc_status is not None:
            yield Problem(
                ("spec", "abort"),
                "a request cannot be answered with both an HTTP and a gRPC status",
                "Keep httpStatus or grpcStatus",
            )


def effect(fields: FaultFields, where: Where) -> Parts:
    if not where.protocol.is_http:
        return NOTHING
    made = HTTPFault()
    if fields.delay is not None and fields.delay.fixed is not None:
        set_duration(made.delay.fixed_delay, fields.delay.fixed)
        set_percent(made.delay.percentage, _share(fields.delay.percent))
    if fields.abort is not None:
        _abort(made, fields.abort)
    if fields.response_rate is not None and fields.response_rate.kbps is not None:
        made.response_rate_limit.fixed_limit.limit_kbps = fields.response_rate.kbps
        set_percent(made.response_rate_limit.percentage, _share(fields.response_rate.percent))
    made.headers.extend(each.matcher() for each in fields.headers or ())
    if fields.max_active is not None:
        made.max_active_faults.value = fields.max_active
    if not any(made.HasField(each) for each in ("delay", "abort", "response_rate_limit")):
        return NOTHING
    route = Route()
    pack(route.typed_per_filter_config[FILTER.name], made)
    return Parts(route=serialised(route))


def _abort(made: HTTPFault, fields: AbortFields) -> None:
    if fields.http_status is not None and fields.grpc_status is not None:
        raise ValueError("several policies together abort with both an HTTP and a gRPC status: keep one")
    if fields.http_status is not None:
        made.abort.http_status = fields.http_status
    elif fields.grpc_status is not None:
        made.abort.grpc_status = fields.grpc_status
    else:
        return
    set_percent(made.abort.percentage, _share(fields.percent))


def _share(percent: float | None) -> float:
    return 100.0 if percent is None else percent


KIND: Final = PolicyKind(
    FaultInjection,
    FaultFields,
    Side.CALLER,
    effect,
    filters=(FILTER,),
    levels=ANYWHERE - {Level.WORKLOAD},
    whole=True,
)
