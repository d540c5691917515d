"""Rules of our kinds between fields, in CEL, as far as it can say them: the API server refuses by them without asking anybody.

Each says what a check of the model in `documents/` or `policies/` says, in its words; `tests/unit/meshwright/test_kubernetes_crd_rules.py` holds
the two together. What CEL cannot say (regular expressions that Envoy takes, other documents) is the webhook's.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MOST_TARGETS: Final = 64
"""Of one policy in a cluster: what a rule goes through must have a bound, for its cost is reckoned before."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`at`: the part of `spec` that it is about (`[]`: each of a list), as `("targetRefs", "[]")`. `field`: the one that an error names, below
    that part.
    """

    rule: str
    message: str
    at: tuple[str, ...] = ()
    field: str = ""

    def manifest(self) -> dict[str, Any]:
        made: dict[str, Any] = {"rule": self.rule, "message": self.message}
        return made | ({"fieldPath": f".{self.field}"} if self.field else {})


def longer(shorter: str, longer: str, message: str, *at: str) -> Rule:
    """That the duration `longer` is not less than `shorter`, where both are given."""
    return Rule(
        f"!has(self.{shorter}) || !has(self.{longer}) || duration(self.{longer}) >= duration(self.{shorter})",
        message,
        at,
        longer,
    )


def not_both(one: str, other: str, message: str, *at: str) -> Rule:
    return Rule(f"!has(self.{one}) || !has(self.{other})", message, at)


def no_callers(message: str) -> Rule:
    return Rule("!has(self.from) || size(self.from) == 0", message, field="from")


REQUIRED: Final[dict[str, tuple[str, ...]]] = {"EnvoyPatch": ("resource", "name", "merge")}
"""Fields of `spec` that a document must have although its model lets policies farther away say them."""

BARE: Final = {"RetryPolicy": ("true", "on")}
"""By kind: what a field of `spec` becomes, and the field, where it is not in quotes. YAML 1.1, which kubectl reads, takes a bare `on` for true."""

TARGETS: Final = (
    Rule(
        "self.kind in ['Mesh', 'Namespace'] || has(self.name)",
        "which one is not said. Add its name",
        ("targetRefs", "[]"),
        "name",
    ),
    Rule(
        "self.kind != 'Mesh' || (!has(self.name) && !has(self.__namespace__))",
        "there is one mesh, without a name. Remove name and namespace",
        ("targetRefs", "[]"),
    ),
    Rule(
        "!has(self.enforced) || !self.enforced || self.targetRefs.all(t, t.kind in ['Mesh', 'Namespace'])",
        "only the mesh or a namespace can enforce. Remove enforced, or target the namespace",
        field="enforced",
    ),
)
"""Of all kinds with `targetRefs`."""

_EVERY_CALLER: Final = "holds for all callers: it cannot tell them apart. Remove from"

RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Service": (),
    "Workload": (
        Rule(
            "!has(self.interception) || (has(self.meshed) && self.meshed)",
            "there is no sidecar to send its traffic to. Set meshed: true",
            field="interception",
        ),
        Rule(
            "!has(self.gateway) || !has(self.services) || size(self.services) == 0",
            "a workload that plays a gateway has no services. Remove services, or declare another workload for it",
            field="services",
        ),
        Rule(
            "!has(self.gateway) || !has(self.ports) || size(self.ports) == 0",
            "a workload that plays a gateway has no ports. Remove ports, or declare another workload for it",
            field="ports",
        ),
    ),
    "AccessPolicy": (
        Rule(
            "!has(self.from) || size(self.from) == 0",
            "callers are named in rules. Move it: rules: [{from: [...]}]",
            field="from",
        ),
    ),
    "AccessLog": (
        no_callers("AccessLog cannot differ by caller. Remove from, and name callers in only.callers"),
        Rule(
            "!has(self.line) || !has(self.format) || self.format != 'json'",
            "a JSON line is made of fields. Use fields, or set format to text",
            field="line",
        ),
    ),
    "Buffering": (no_callers(f"a Buffering {_EVERY_CALLER}"),),
    "Compression": (no_callers(f"a Compression {_EVERY_CALLER}"),),
    "Concurrency": (
        no_callers(f"a Concurrency {_EVERY_CALLER}"),
        Rule(
            "!has(self.adaptive) || "
            "(has(self.adaptive.minRequests) ? self.adaptive.minRequests : 3) <= "
            "(has(self.adaptive.maxRequests) ? self.adaptive.maxRequests : 1000)",
            "minRequests is more than the most. Make minRequests smaller or maxRequests larger",
            field="adaptive.minRequests",
        ),
        Rule(
            "!has(self.window) || duration(self.window) >= duration('1s')",
            "it is shorter than a second. Use 1s or more",
            ("admission",),
            "window",
        ),
    ),
    "ConnectionLimit": (no_callers(f"a ConnectionLimit {_EVERY_CALLER}"),),
    "CircuitBreaker": (
        Rule(
            "!has(self.connections) || self.connections != 0",
            "without a connection no request can ever pass. Use 1 or more",
            field="connections",
        ),
        Rule(
            "!has(self.connectionsPerEndpoint) || self.connectionsPerEndpoint != 0",
            "without a connection no request can ever pass. Use 1 or more",
            field="connectionsPerEndpoint",
        ),
        Rule(
            "self.targetRefs.all(t, !(t.kind in ['TCPRoute', 'TLSRoute']))",
            "such a route has connections, and no requests of any priority. Target an HTTPRoute or GRPCRoute",
            field="targetRefs",
        ),
    ),
    "EgressPolicy": (
        no_callers(
            "an EgressPolicy concerns the calls of its targets. Remove from, and name the callers in targetRefs"
        ),
    ),
    "Extension": (
        Rule(
            "has(self.lua) != has(self.wasm)",
            "an extension is either Lua or Wasm. Give exactly one of lua and wasm",
        ),
    ),
    "ExternalAuthorization": (
        Rule(
            "self.targetRefs.all(t, !(t.kind in ['TCPRoute', 'TLSRoute']))",
            "such a route has connections, not requests. Target an HTTPRoute, a GRPCRoute, or a Service",
            field="targetRefs",
        ),
        Rule(
            "!has(self.protocol) || self.protocol != 'http' || !has(self.authority)",
            "by HTTP it is the host of the request. Remove authority",
            field="authority",
        ),
    ),
    "FaultInjection": (
        not_both(
            "httpStatus",
            "grpcStatus",
            "a request cannot be answered with both an HTTP and a gRPC status. Keep httpStatus or grpcStatus",
            "abort",
        ),
    ),
    "HealthCheck": tuple(
        Rule(
            f"!has(self.type) || self.type == '{kind}' || !has(self.{kind.lower()})",
            f"it has no effect on checks of another type. Remove it, or use type: {kind}",
            field=kind.lower(),
        )
        for kind in ("HTTP", "GRPC", "TCP")
    ),
    "LoadBalancing": (
        Rule(
            "!has(self.minimumSize) || !has(self.maximumSize) || self.minimumSize <= self.maximumSize",
            "it is more than maximumSize. Make it less",
            ("ringHash",),
            "minimumSize",
        ),
        Rule(
            "!has(self.ttl) || duration(self.ttl) >= duration('1s')",
            "a cookie is kept for whole seconds. Use 1s or more",
            ("stickySession",),
            "ttl",
        ),
    ),
    "MeshTLS": (no_callers(f"a MeshTLS {_EVERY_CALLER}"),),
    "Metrics": (
        no_callers("Metrics cannot differ by caller. Remove from, and target the workloads"),
        Rule(
            "!has(self.detail) || self.detail != 'all' || !has(self.include)",
            "all metrics are shown anyway. Remove it, or detail",
            field="include",
        ),
    ),
    "OutlierDetection": (
        longer(
            "baseEjectionTime",
            "maxEjectionTime",
            "it is less than baseEjectionTime. Make it longer, or leave it out",
        ),
        Rule(
            "!has(self.maxEjectionPercent) || self.maxEjectionPercent != 0 || !has(self.alwaysEjectOne) || self.alwaysEjectOne",
            "no endpoint could ever be ejected. Use 1 or more",
            field="maxEjectionPercent",
        ),
    ),
    "RateLimit": (
        Rule(
            "has(self.local) || has(self.global)",
            "nothing is limited. Add local: {requests: 100}, or global: {requests: 100}",
        ),
    ),
    "RetryPolicy": (
        Rule(
            "!has(self.__true__)",
            'write "on" in quotes: YAML 1.1, which kubectl reads, takes a bare on for true',
        ),
        longer("base", "max", "it is less than the base. Make it longer", "backoff"),
    ),
    "RolloutPolicy": (
        Rule(
            "[has(self.percent), has(self.labels), has(self.zones)].filter(s, s).size() == 1",
            "a stage names its proxies in one way. Say one of percent, labels and zones",
            ("stages", "[]"),
        ),
    ),
    "Tracing": (
        no_callers(
            "Tracing cannot differ by caller. Remove from, and target the callers' workloads or namespace"
        ),
        not_both(
            "otlp",
            "zipkin",
            "there is one collector, and otlp names another. Set one of the two, and the other to null",
        ),
        Rule(
            "!has(self.zipkinPath) || !has(self.otlp)",
            "the collector is not Zipkin but OpenTelemetry. Remove it",
            field="zipkinPath",
        ),
    ),
}
"""By kind, besides TARGETS."""
