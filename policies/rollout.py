"""RolloutPolicy: which changes reach some proxies first, and by what they are judged before all others get them. Nothing of it is rendered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.durations import Duration
from documents.envelope import API_VERSION, Envelope, Kind, Name, Namespace, Part, Problem, wrong
from mesh.rollout import Bounds, NoTraffic, Plan, RolloutPolicy, Stage
from mesh.targeting import TargetRef
from policies.document import TargetRefSpec
from policies.fields import Percent

NOT_STAGED: Final = frozenset({"Service", "Workload", "Secret", "RolloutPolicy"})
"""Kinds of which a change is everybody's at once: who is there, and how it is called, is the same for all."""

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: carefully}
spec:
  targetRefs: [{kind: Namespace}]
  kinds: [HTTPRoute, RetryPolicy, TimeoutPolicy, FaultInjection]
  stages:
  - {percent: 5, bake: 5m}
  - {percent: 50}
  - {percent: 100}
  bake: 2m
  errors: {morePercent: 0.5}
  latency:
    p99: {times: 1.5, max: 1s}
"""


def _stageable(kind: str) -> str:
    if kind in NOT_STAGED:
        raise wrong(
            f"a change of a {kind} cannot reach some proxies first", "Remove it: all know of it at once"
        )
    return kind


class RolloutTargetSpec(Part):
    """Documents whose changes are concerned."""

    kind: Literal["Mesh", "Namespace", "Service"] = Field(
        description="`Mesh`: all documents. `Namespace`: those of a namespace. `Service`: those that concern a service, wherever they are."
    )
    name: Name | None = Field(
        None, description="Of the service or the namespace; by default the policy's own namespace."
    )
    namespace: Namespace | None = Field(None, description="Of the service. By default the policy's own.")

    def value(self, own: str) -> TargetRef:
        return TargetRefSpec(kind=self.kind, group=None, name=self.name, namespace=self.namespace).value(own)


class StageSpec(Part):
    """The proxies that a stage adds to those before it: one of `percent`, `labels` and `zones`."""

    percent: Percent | None = Field(
        None,
        description="A share of the proxies that the change concerns, chosen by a hash of their workloads' names: at least one. A larger "
        "share has all of a smaller one.",
    )
    labels: dict[str, str] | None = Field(
        None, min_length=1, description="Those of workloads with all of these labels."
    )
    zones: list[str] | None = Field(
        None, min_length=1, description="Those of workloads in one of these zones."
    )
    bake: Duration | None = Field(
        None,
        description="For how long the change must do well here, once all have acknowledged it. By default the policy's `bake`.",
    )

    def value(self, bake: float) -> Stage:
        return Stage(
            bake if self.bake is None else self.bake.total_seconds(),
            self.percent,
            tuple(sorted((self.labels or {}).items())),
            tuple(sorted(self.zones or ())),
        )


class ErrorsSpec(Part):
    """Failures are statuses from 500 on, gRPC statuses that are the callee's fault, requests without a route, and connections that could not be made."""

    more_percent: Percent | None = Field(
        1.0,
        description="So many points may more requests fail with the change than without it. By default 1; `null` is no bound.",
    )
    max_percent: Percent | None = Field(
        None, description="So many may fail in any case. By default no bound."
    )
    client_errors: bool = Field(
        default=False,
        description="Whether statuses from 400 on are failures, too: for changes of access policies. By default not.",
    )


class LatencyBoundSpec(Part):
    """Of the time to the first byte of the answer."""

    times: Annotated[float, Field(gt=1, strict=False)] | None = Field(
        None, description="So many times that of the proxies without the change. By default no bound."
    )
    max: Duration | None = Field(None, description="In any case. By default no bound.")


class LatencySpec(Part):
    p50: LatencyBoundSpec | None = Field(None, description="Half of the requests. By default not judged.")
    p99: LatencyBoundSpec | None = Field(
        None,
        description="All requests but one in a hundred. Where `latency` is not said at all, `{times: 2}`.",
    )


class RolloutPolicySpec(Part):
    target_refs: list[RolloutTargetSpec] = Field(
        min_length=1, description="Which documents; the nearest policy counts."
    )
    kinds: list[Annotated[str, AfterValidator(_stageable)]] | None = Field(
        None,
        min_length=1,
        description="Of these kinds alone. By default all but Service, Workload, Secret and RolloutPolicy, whose changes reach everybody at once.",
    )
    stages: list[StageSpec] = Field(
        min_length=1,
        max_length=20,
        description="One after the other. The last is everybody, whether it is said or not.",
    )
    bake: Duration = Field(
        timedelta(minutes=2),
        description="See `stages`. By default 2m.",
    )
    errors: ErrorsSpec = Field(ErrorsSpec.model_validate({}), description="What share of requests may fail.")
    latency: LatencySpec | None = Field(
        None, description="How long requests may take. By default p99 twice that of the others."
    )
    requests: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        50,
        description="So many requests must have been seen with the change before anything is judged. By default 50.",
    )
    acknowledged_within: Duration = Field(
        timedelta(minutes=1),
        description="In which all proxies of a stage must have acknowledged the change; else it is withdrawn. By default 1m.",
    )
    without_traffic: Literal["proceed", "wait", "withdraw"] = Field(
        "proceed",
        description="What becomes of a stage with too few requests to be judged when its time is up: it goes on, waits for `waitAtMost` and is "
        "then withdrawn, or is withdrawn. By default proceed.",
    )
    wait_at_most: Duration = Field(
        timedelta(hours=1),
        description="See `withoutTraffic`. By default 1h.",
    )


class RolloutPolicyDocument(Envelope):
    """How changes of documents go out: to some proxies first, and to the others once they do well there. See [rollouts](../rollouts.md)."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["RolloutPolicy"]
    spec: RolloutPolicySpec

    def problems(self) -> Iterator[Problem]:
        for place, ref in enumerate(self.spec.target_refs):
            at = ("spec", "targetRefs", place)
            if ref.kind == "Service" and ref.name is None:
                yield Problem((*at, "name"), "which Service is not said", "Add its name")
            if ref.kind == "Mesh" and (ref.name or ref.namespace):
                yield Problem(at, "there is one mesh, without a name", "Remove name and namespace")
        largest = 0.0
        for place, stage in enumerate(self.spec.stages):
            at = ("spec", "stages", place)
            said = [each for each in (stage.percent, stage.labels, stage.zones) if each is not None]
            if len(said) != 1:
                yield Problem(
                    at, "a stage names its proxies in one way", "Say one of percent, labels and zones"
                )
            if stage.percent is not None and not largest < stage.percent:
                yield Problem(
                    (*at, "percent"),
                    f"{stage.percent:g} adds nothing to {largest:g} percent",
                    "Let each share be larger than the one before",
                )
            largest = max(largest, stage.percent or 0.0)

    def value(self, origin: tuple[str, ...]) -> RolloutPolicy:
        spec, own = self.spec, self.metadata.namespace
        return RolloutPolicy(
            self.metadata.key,
            plan(spec),
            tuple(sorted({each.value(own) for each in spec.target_refs})),
            frozenset(spec.kinds or ()),
            origin,
        )


def plan(spec: RolloutPolicySpec) -> Plan:
    latency = spec.latency or LatencySpec.model_validate({"p99": {"times": 2}})
    p50, p99 = (each or LatencyBoundSpec.model_validate({}) for each in (latency.p50, latency.p99))
    bounds = Bounds(
        errors_over=spec.errors.more_percent,
        errors=spec.errors.max_percent,
        p50_over=p50.times,
        p99_over=p99.times,
        p50=p50.max.total_seconds() if p50.max is not None else None,
        p99=p99.max.total_seconds() if p99.max is not None else None,
        requests=spec.requests,
        client_errors=spec.errors.client_errors,
    )
    return Plan(
        tuple(each.value(spec.bake.total_seconds()) for each in spec.stages),
        bounds,
        spec.acknowledged_within.total_seconds(),
        NoTraffic(spec.without_traffic),
        spec.wait_at_most.total_seconds(),
    )


KIND = Kind(API_VERSION, "RolloutPolicy", RolloutPolicyDocument)
