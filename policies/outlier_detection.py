"""OutlierDetection: endpoints that fail are left out for a while. Enforced by each caller, by what it sees itself.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/outlier
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from envoy.seams import Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as Message
from policies.document import PolicyDocument, Targeting
from policies.fields import Count, PositiveDuration, seconds, set_duration
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: OutlierDetection
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  consecutive5xx: 5
  consecutiveLocalOriginFailures: 3
  interval: 5s
  baseEjectionTime: 30s
  maxEjectionPercent: 50
"""

WholePercent = Annotated[int, Field(ge=0, le=100)]
CONSECUTIVE_5XX = 5
BASE_EJECTION = "30s"
LONGEST_EJECTION = "300s"
EJECTION_PERCENT = 50


class SuccessRateFields(Part):
    """Endpoints whose share of successes lies far below that of the others."""

    minimum_hosts: Count = Field(
        5, description="Endpoints that must have `requestVolume` before any is judged. Default 5."
    )
    request_volume: Count = Field(
        100, description="Requests to an endpoint within one interval before it is judged. Default 100."
    )
    deviations: Annotated[float, Field(ge=0.01, le=100, strict=False)] = Field(
        1.9,
        description="How many standard deviations below the mean of all endpoints is too low. Default 1.9.",
    )


class FailurePercentageFields(Part):
    """Endpoints that fail more than a given share, whatever the others do."""

    threshold: WholePercent = Field(
        85,
        description="Percent of failures within one interval from which an endpoint is ejected. Default 85.",
    )
    minimum_hosts: Count = Field(
        5, description="Endpoints that must have `requestVolume` before any is judged. Default 5."
    )
    request_volume: Count = Field(
        50, description="Requests to an endpoint within one interval before it is judged. Default 50."
    )


class OutlierDetectionFields(Part):
    consecutive5xx: Count | None = Field(
        None,
        alias="consecutive5xx",
        description="Failures in a row that eject an endpoint: a 5xx, a reset or a timeout, and for TCP a failed connection. 0: "
        "not looked at. Default 5.",
    )
    consecutive_gateway_errors: Count | None = Field(
        None,
        description="The same for 502, 503 and 504 alone, so that an application's own 500 does not count. 0, the default: not looked at.",
    )
    consecutive_local_origin_failures: Count | None = Field(
        None,
        description="Failures in a row that the caller's sidecar itself met (connections refused or timed out), which are then counted "
        "apart from answers, and no longer among `consecutive5xx`. 0, the default: not looked at.",
    )
    interval: PositiveDuration | None = Field(
        None,
        description="How often ejected endpoints are looked at, whether their time is over, and shares are judged. Default 10s.",
    )
    base_ejection_time: PositiveDuration | None = Field(
        None,
        description="How long an endpoint is left out: this times how often it was, lately. Default 30s.",
    )
    max_ejection_time: PositiveDuration | None = Field(
        None,
        description="The longest that an endpoint is left out. Default 300s, or `baseEjectionTime` where that is longer.",
    )
    ejection_jitter: PositiveDuration | None = Field(
        None,
        description="Up to this much is added at random, so that not all come back at once. By default nothing.",
    )
    max_ejection_percent: WholePercent | None = Field(
        None,
        description="The percentage of endpoints that may be out at once. Default 50, where Envoy's own is 10, with which a service of "
        "fewer than ten endpoints never loses one. When more than half of the endpoints are out, Envoy by default sends to all of them "
        "again: see `panicThreshold` of LoadBalancing.",
    )
    always_eject_one: bool | None = Field(
        None,
        description="One endpoint may be left out whatever the percentage says, which matters where there are few. Default true.",
    )
    success_rate: SuccessRateFields | None = Field(
        None, description="Judge endpoints by their success rate against the others'. By default not."
    )
    failure_percentage: FailurePercentageFields | None = Field(
        None, description="Judge endpoints by their share of failures. By default not."
    )
    return_on_health_check: bool | None = Field(
        None,
        description="Where a HealthCheck looks at the endpoints too, one that passes it returns before its time is over. Default true.",
    )


class OutlierDetectionSpec(Targeting, OutlierDetectionFields):
    pass


class OutlierDetection(PolicyDocument):
    """Endpoints that fail are left out of load balancing for a while, then tried again.

    Each caller's sidecar judges by the requests that pass through it, with no further traffic.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["OutlierDetection"]
    spec: OutlierDetectionSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        base, longest = spec.base_ejection_time, spec.max_ejection_time
        if base and longest and seconds(longest) < seconds(base):
            yield Problem(
                ("spec", "maxEjectionTime"),
                f"{longest} is less than baseEjectionTime, {base}",
                "Make it longer, or leave it out",
            )
        if spec.max_ejection_percent == 0 and spec.always_eject_one is False:
            yield Problem(
                ("spec", "maxEjectionPercent"), "no endpoint could ever be ejected", "Use 1 or more"
            )
        if 0 < (spec.consecutive5xx or 0) <= (spec.consecutive_gateway_errors or 0):
            yield Problem(
                ("spec", "consecutiveGatewayErrors"),
                f"gateway errors are 5xx too, and consecutive5xx, {spec.consecutive5xx}, is reached first",
                "Make it less, or set consecutive5xx to 0",
            )


def effect(fields: OutlierDetectionFields, where: Where) -> Parts:
    if where.route:
        return Parts()  # endpoints are a service's
    cluster = Cluster()
    made = cluster.outlier_detection
    _consecutive(made, fields)
    # Envoy judges success rates unless it is told not to.
    made.enforcing_success_rate.value = 100 if fields.success_rate else 0
    made.enforcing_local_origin_success_rate.value = 0
    if fields.success_rate is not None:
        made.success_rate_minimum_hosts.value = fields.success_rate.minimum_hosts
        made.success_rate_request_volume.value = fields.success_rate.request_volume
        made.success_rate_stdev_factor.value = round(fields.success_rate.deviations * 1000)
    made.enforcing_failure_percentage.value = 100 if fields.failure_percentage else 0
    if fields.failure_percentage is not None:
        made.failure_percentage_threshold.value = fields.failure_percentage.threshold
        made.failure_percentage_minimum_hosts.value = fields.failure_percentage.minimum_hosts
        made.failure_percentage_request_volume.value = fields.failure_percentage.request_volume
    if fields.interval is not None:
        set_duration(made.interval, fields.interval)
    base = fields.base_ejection_time or BASE_EJECTION
    set_duration(made.base_ejection_time, base)
    longest = fields.max_ejection_time or max(base, LONGEST_EJECTION, key=seconds)
    set_duration(made.max_ejection_time, max(base, longest, key=seconds))
    if fields.ejection_jitter is not None:
        set_duration(made.max_ejection_time_jitter, fields.ejection_jitter)
    percent = fields.max_ejection_percent
    made.max_ejection_percent.value = EJECTION_PERCENT if percent is None else percent
    made.always_eject_one_host.value = fields.always_eject_one is not False
    if fields.return_on_health_check is not None:
        made.successful_active_health_check_uneject_host.value = fields.return_on_health_check
    return Parts(cluster=serialised(cluster))


def _consecutive(made: Message, fields: OutlierDetectionFields) -> None:
    """Zero failures in a row would eject everybody, in Envoy's terms: what is not looked at is not enforced."""
    count = CONSECUTIVE_5XX if fields.consecutive5xx is None else fields.consecutive5xx
    made.enforcing_consecutive_5xx.value = 100 if count else 0
    if count:
        made.consecutive_5xx.value = count
    made.enforcing_consecutive_gateway_failure.value = 100 if fields.consecutive_gateway_errors else 0
    if fields.consecutive_gateway_errors:
        made.consecutive_gateway_failure.value = fields.consecutive_gateway_errors
    if fields.consecutive_local_origin_failures:
        made.split_external_local_origin_errors = True
        made.consecutive_local_origin_failure.value = fields.consecutive_local_origin_failures
        made.enforcing_consecutive_local_origin_failure.value = 100


KIND = PolicyKind(
    OutlierDetection,
    OutlierDetectionFields,
    Side.CALLER,
    effect,
    levels=ANYWHERE - {Level.WORKLOAD, Level.ROUTE},
)
