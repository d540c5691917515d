"""What `kubectl get` shows of our kinds, and the short names by which it knows them.

Columns are JSON paths, and show the first of several values (the API server's table convertor).
"""

from __future__ import annotations

from typing import Any, Final

from meshwright.commands.kinds import SHORT

Column = dict[str, Any]

_TARGET: Final = (("Target", ".spec.targetRefs[0].kind"), ("Name of target", ".spec.targetRefs[0].name"))

SAYS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Service": (
        ("Port", ".spec.ports[0].port"),
        ("Protocol", ".spec.ports[0].protocol"),
        ("Address", ".spec.address"),
    ),
    "Workload": (("Service", ".spec.services[0]"), ("Address", ".spec.address"), ("Meshed", ".spec.meshed")),
    "ServiceSubset": (("Service", ".spec.service"), ("Labels", ".spec.labels")),
    "ExternalService": (
        ("Host", ".spec.hosts[0]"),
        ("Port", ".spec.ports[0].port"),
        ("Protocol", ".spec.ports[0].protocol"),
    ),
    "RolloutPolicy": (("First stage", ".spec.stages[0].percent"), ("Bake", ".spec.bake")),
    "AccessPolicy": (
        ("Action", ".spec.action"),
        ("Default", ".spec.default"),
        ("Dry run", ".spec.dryRun"),
    ),
    "AccessLog": (("Format", ".spec.format"), ("File", ".spec.file")),
    "Buffering": (("Most", ".spec.maxRequestBytes"),),
    "Compression": (("Algorithms", ".spec.algorithms"),),
    "Concurrency": (
        ("Most adaptive", ".spec.adaptive.maxRequests"),
        ("Admission", ".spec.admission.successPercent"),
    ),
    "ConnectionLimit": (("Connections", ".spec.connections"),),
    "EgressPolicy": (("Unknown", ".spec.unknown"),),
    "EnvoyPatch": (("Resource", ".spec.resource"), ("Patches", ".spec.name")),
    "Extension": (("Side", ".spec.side"), ("Stage", ".spec.stage")),
    "ExternalAuthorization": (("Protocol", ".spec.protocol"), ("Service", ".spec.service.name")),
    "FaultInjection": (("Delay", ".spec.delay.fixed"), ("Abort", ".spec.abort.httpStatus")),
    "CircuitBreaker": (("Requests", ".spec.requests"), ("Connections", ".spec.connections")),
    "HealthCheck": (("Type", ".spec.type"), ("Interval", ".spec.interval")),
    "LoadBalancing": (("Algorithm", ".spec.algorithm"),),
    "MeshTLS": (("Mode", ".spec.mode"),),
    "Metrics": (("Detail", ".spec.detail"),),
    "OutlierDetection": (("5xx", ".spec.consecutive5xx"), ("Base", ".spec.baseEjectionTime")),
    "RateLimit": (("Local", ".spec.local.requests"), ("Global", ".spec.global.requests")),
    "RequestAuthentication": (("Issuer", ".spec.issuers[0].issuer"),),
    "TimeoutPolicy": (("Request", ".spec.request"),),
    "RetryPolicy": (("Attempts", ".spec.attempts"), ("Per try", ".spec.perTryTimeout")),
    "Tracing": (("Sampling", ".spec.sampling"), ("OTLP", ".spec.otlp"), ("Zipkin", ".spec.zipkin")),
}
"""What a document of each kind says above all."""

_TAKEN: Final = frozenset({"svc"})
"""Short names of the API server's own kinds, which ours are not to be taken for."""


def short_names(kind: str) -> list[str]:
    """As the command line has them."""
    return [each for each in SHORT[kind] if each not in _TAKEN]


def columns(kind: str, *, targets: bool, schema: dict[str, Any]) -> list[Column]:
    """What it targets, what it says, whether that is in force and why not, and its age. `schema`: of the kind, for the types of what it says."""
    said = [*(_TARGET if targets else ()), *SAYS[kind]]
    conditions = '.status.conditions[?(@.type=="{}")].{}'
    return [
        *({"name": name, "type": _type(schema, path), "jsonPath": path} for name, path in said),
        {"name": "Accepted", "type": "string", "jsonPath": conditions.format("Accepted", "status")},
        {"name": "Reason", "type": "string", "jsonPath": conditions.format("Accepted", "reason")},
        {"name": "Programmed", "type": "string", "jsonPath": conditions.format("Programmed", "status")},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {
            "name": "Message",
            "type": "string",
            "jsonPath": conditions.format("Accepted", "message"),
            "priority": 1,
        },
    ]


def _type(schema: dict[str, Any], path: str) -> str:
    """Of the column of `path`; KeyError for a field that there is not. What is no single value is shown as JSON."""
    at = schema
    for step in path.strip(".").split("."):
        name, _, index = step.partition("[")
        at = at["properties"][name]
        if index:
            at = at["items"]
    kind = at.get("type", "string")
    return kind if kind in {"integer", "number", "boolean"} else "string"
