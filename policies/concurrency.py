"""Concurrency: a sidecar finds out how many requests at once its application can bear, and refuses what is more. Enforced by the callee.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/adaptive_concurrency_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/admission_control_filter
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from google.protobuf.message import Message
from pydantic import Field

from documents.envelope import Part, Problem
from envoy.packing import type_url
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from mesh.targeting import Level
from pb.envoy.extensions.filters.http.adaptive_concurrency.v3.adaptive_concurrency_pb2 import (
    AdaptiveConcurrency,
)
from pb.envoy.extensions.filters.http.admission_control.v3.admission_control_pb2 import AdmissionControl
from policies.document import PolicyDocument, Targeting
from policies.fields import Count, Percent, Positive, PositiveDuration, seconds, set_duration
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Concurrency
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  adaptive: {maxRequests: 200, measureEvery: 60s}
  admission: {successPercent: 95, minRequestsPerSecond: 5}
"""

ADAPTIVE: Final = "envoy.filters.http.adaptive_concurrency"
ADMISSION: Final = "envoy.filters.http.admission_control"


class AdaptiveFields(Part):
    """Requests at once are limited so that answers take little longer than they do without load."""

    max_requests: Positive | None = Field(
        None, description="The limit is never higher than so many requests at once. By default 1000."
    )
    min_requests: Positive | None = Field(
        None, description="The limit while the time without load is measured. By default 3."
    )
    measure_every: PositiveDuration | None = Field(
        None, description="How often the time without load is measured. By default 60s."
    )
    measured_requests: Positive | None = Field(
        None, description="How many requests are needed to measure it. By default 50."
    )
    update_every: PositiveDuration | None = Field(
        None, description="How often the limit is computed anew. By default 100ms."
    )
    percentile: Percent | None = Field(
        None, description="Which of the times of answers are compared. By default 50, the median."
    )
    tolerance: Percent | None = Field(
        None,
        description="How much longer, in percent of the time without load, is no sign of overload. By default 25.",
    )


class AdmissionFields(Part):
    """When too many requests fail, a share of them is refused at once, so that the application can recover."""

    success_percent: Percent | None = Field(
        None, description="Below this share of good answers requests are refused. By default 95."
    )
    window: PositiveDuration | None = Field(
        None, description="The time over which answers are counted, in whole seconds. By default 30s."
    )
    min_requests_per_second: Count | None = Field(
        None, description="With fewer requests nothing is refused. By default 1."
    )
    max_rejected_percent: Percent | None = Field(
        None, description="At most this share is refused. By default 80."
    )


class ConcurrencyFields(Part):
    adaptive: AdaptiveFields | None = Field(
        None,
        description="A limit on requests at once that each sidecar finds by itself; what is beyond is answered with 503. By default none; "
        "`{}` is one with all defaults.",
    )
    admission: AdmissionFields | None = Field(
        None,
        description="A share of requests is answered with 503 at once while too many fail (5xx, or a gRPC status that tells of the server). By "
        "default none.",
    )


class ConcurrencySpec(Targeting, ConcurrencyFields):
    pass


class Concurrency(PolicyDocument):
    """How many requests at once an application is given.

    A new or changed policy reaches connections that are open when they are drained, within 45 seconds.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Concurrency"]
    spec: ConcurrencySpec

    def own_problems(self) -> Iterator[Problem]:
        yield from self.callers_not_told_apart()
        adaptive, admission = self.spec.adaptive, self.spec.admission
        if adaptive is not None and (adaptive.min_requests or 3) > (adaptive.max_requests or 1000):
            yield Problem(
                ("spec", "adaptive", "minRequests"),
                f"{adaptive.min_requests or 3} is more than the most, {adaptive.max_requests or 1000}",
                "Make minRequests smaller or maxRequests larger",
            )
        if admission is not None and admission.success_percent is not None and admission.success_percent < 1:
            yield Problem(
                ("spec", "admission", "successPercent"),
                "below 1 percent nothing would ever be refused",
                "Use a number from 1 to 100, or remove admission",
            )
        if admission is not None and admission.window and seconds(admission.window).total_seconds() < 1:
            yield Problem(
                ("spec", "admission", "window"),
                f"{admission.window} is shorter than a second",
                "Use 1s or more",
            )


def effect(fields: ConcurrencyFields, where: Where) -> Parts:
    """A change drains the connections of that port, as every change of a filter chain does: these filters know no routes."""
    if not where.protocol.is_http:
        return NOTHING
    filters = []
    if fields.adaptive is not None:
        filters.append(_filter(ADAPTIVE, _adaptive(fields.adaptive)))
    if fields.admission is not None:
        filters.append(_filter(ADMISSION, _admission(fields.admission)))
    return Parts(http_filters=tuple(filters))


def _filter(name: str, config: Message) -> HttpFilter:
    return HttpFilter(FilterOrder.CONCURRENCY, name, type_url(type(config)), serialised(config))


def _adaptive(fields: AdaptiveFields) -> AdaptiveConcurrency:
    made = AdaptiveConcurrency()
    made.enabled.default_value.value = True
    gradient = made.gradient_controller_config
    gradient.sample_aggregate_percentile.value = 50.0 if fields.percentile is None else fields.percentile
    limit, measured = gradient.concurrency_limit_params, gradient.min_rtt_calc_params
    limit.max_concurrency_limit.value = fields.max_requests or 1000
    set_duration(limit.concurrency_update_interval, fields.update_every or "100ms")
    set_duration(measured.interval, fields.measure_every or "60s")
    measured.request_count.value = fields.measured_requests or 50
    measured.min_concurrency.value = fields.min_requests or 3
    # Sidecars that measure at the same moment would all refuse at the same moment.
    measured.jitter.value = 10.0
    measured.buffer.value = 25.0 if fields.tolerance is None else fields.tolerance
    return made


def _admission(fields: AdmissionFields) -> AdmissionControl:
    made = AdmissionControl()
    made.enabled.default_value.value = True
    made.success_criteria.http_criteria.http_success_status.add(start=100, end=500)
    # What the caller did wrong tells nothing of the server's health:
    # OK, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNAUTHENTICATED
    made.success_criteria.grpc_criteria.grpc_success_status.extend((0, 1, 3, 5, 6, 7, 9, 11, 16))
    set_duration(made.sampling_window, fields.window or "30s")
    made.aggression.default_value = 1.0
    made.aggression.runtime_key = "meshwright.admission.aggression"
    made.sr_threshold.default_value.value = 95.0 if fields.success_percent is None else fields.success_percent
    made.sr_threshold.runtime_key = "meshwright.admission.success"
    made.rps_threshold.default_value = (
        1 if fields.min_requests_per_second is None else fields.min_requests_per_second
    )
    made.rps_threshold.runtime_key = "meshwright.admission.requests"
    made.max_rejection_probability.default_value.value = (
        80.0 if fields.max_rejected_percent is None else fields.max_rejected_percent
    )
    made.max_rejection_probability.runtime_key = "meshwright.admission.rejection"
    return made


KIND: Final = PolicyKind(Concurrency, ConcurrencyFields, Side.CALLEE, effect, levels=ANYWHERE - {Level.ROUTE})
