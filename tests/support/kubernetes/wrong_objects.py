"""Objects of our kinds that are wrong, each with who refuses it and what the refusal must name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

T = "targetRefs: [{kind: Service, name: api}]"
MESH = "targetRefs: [{kind: Mesh}]"
ROOT = "Put it into namespace meshwright-system"


@dataclass(frozen=True, slots=True)
class Wrong:
    """`by`: schema, cel or webhook. `says` are parts of the message: the field, and what is wrong with it."""

    kind: str
    spec: str
    by: str
    says: tuple[str, ...]
    name: str = "wrong"

    def manifest(self, namespace: str = "default") -> dict[str, Any]:
        return {
            "apiVersion": "meshwright.dev/v1alpha1",
            "kind": self.kind,
            "metadata": {"name": self.name, "namespace": namespace},
            "spec": yaml.safe_load(self.spec),
        }

    def __str__(self) -> str:
        return f"{self.by}: {self.kind} {self.spec}"


def schema(kind: str, spec: str, *says: str, name: str = "wrong") -> Wrong:
    return Wrong(kind, spec, "schema", says, name)


def cel(kind: str, spec: str, *says: str) -> Wrong:
    return Wrong(kind, spec, "cel", says)


def webhook(kind: str, spec: str, *says: str, name: str = "wrong") -> Wrong:
    return Wrong(kind, spec, "webhook", says, name)


SCHEMA = (
    schema("RetryPolicy", f"{T}\natempts: 3", 'unknown field "spec.atempts"'),
    schema("RetryPolicy", f"{T}\nattempts: many", "spec.attempts", "integer"),
    schema("RetryPolicy", f"{T}\nattempts: -1", "spec.attempts", "greater than or equal to 0"),
    schema("RetryPolicy", f"{T}\nperTryTimeout: 5 seconds", "spec.perTryTimeout", "should match"),
    schema("RetryPolicy", "attempts: 3", "spec.targetRefs", "Required value"),
    schema("RetryPolicy", "targetRefs: []", "spec.targetRefs", "at least 1"),
    schema(
        "RetryPolicy",
        "targetRefs: [{kind: Workload, name: a}]",
        "spec.targetRefs[0].kind",
        "Unsupported value",
    ),
    schema(
        "RetryPolicy",
        "targetRefs: [{kind: Deployment, name: a}]",
        "spec.targetRefs[0].kind",
        "Unsupported value",
    ),
    schema(
        "RetryPolicy", "targetRefs: [{kind: Service, name: A_b}]", "spec.targetRefs[0].name", "should match"
    ),
    schema("RetryPolicy", T, "metadata.name", "should match", name="a.b"),
    schema("TimeoutPolicy", f"{T}\nrequest: -1s", "spec.request", "should match"),
    schema("MeshTLS", f"{T}\nmode: mutual", "spec.mode", "Unsupported value"),
    schema("MeshTLS", f"{T}\nports: [{{port: 70000, mode: strict}}]", "spec.ports[0].port", "65535"),
    schema("AccessPolicy", f"{T}\naction: forbid\nrules: [{{}}]", "spec.action", "Unsupported value"),
    schema("LoadBalancing", f"{T}\nalgorithm: fastest", "spec.algorithm", "Unsupported value"),
    schema(
        "RateLimit", f"{T}\nlocal: {{requests: 5, unit: fortnight}}", "spec.local.unit", "Unsupported value"
    ),
    schema("FaultInjection", f"{T}\ndelay: {{fixed: 1s, percent: 120}}", "spec.delay.percent", "100"),
    schema("Tracing", f"{MESH}\notlp: nowhere", "spec.otlp", "should match"),
    schema("EnvoyPatch", f"{T}\nresource: Cluster\nname: a", "spec.merge", "Required value"),
    schema("Service", "ports: []", "spec.ports", "at least 1"),
    schema("Service", "ports: [{name: http, port: 0}]", "spec.ports[0].port", "greater than or equal to 1"),
    schema(
        "Service",
        "ports: [{name: http, port: 80, protocol: smtp}]",
        "spec.ports[0].protocol",
        "Unsupported value",
    ),
    schema("ServiceSubset", "service: api", "spec.labels", "Required value"),
    schema("Workload", "services: [api]", "spec.address", "Required value"),
)
CEL = (
    cel("RetryPolicy", f"{T}\non: [5xx]", 'write "on" in quotes'),
    cel("RetryPolicy", "targetRefs: [{kind: Service}]", "spec.targetRefs[0].name", "which one is not said"),
    cel("RetryPolicy", "targetRefs: [{kind: Mesh, name: all}]", "spec.targetRefs[0]", "there is one mesh"),
    cel("RetryPolicy", f"{T}\nenforced: true", "spec.enforced", "only the mesh or a namespace can enforce"),
    cel("RetryPolicy", f"{T}\nbackoff: {{base: 2s, max: 1s}}", "spec.backoff.max", "less than the base"),
    cel("OutlierDetection", f"{T}\nbaseEjectionTime: 1m\nmaxEjectionTime: 30s", "spec.maxEjectionTime"),
    cel(
        "FaultInjection",
        f"{T}\nabort: {{httpStatus: 503, grpcStatus: 14, percent: 1}}",
        "spec.abort",
        "both an HTTP and a gRPC status",
    ),
    cel("RateLimit", T, "spec", "nothing is limited"),
    cel("MeshTLS", f"{T}\nmode: strict\nfrom: [{{service: web}}]", "spec.from", "cannot tell them apart"),
    cel("Compression", f"{T}\nfrom: [{{service: web}}]", "spec.from", "cannot tell them apart"),
    cel("CircuitBreaker", f"{T}\nconnections: 0", "spec.connections", "no request can ever pass"),
    cel("Concurrency", f"{T}\nadaptive: {{minRequests: 20, maxRequests: 10}}", "spec.adaptive.minRequests"),
    cel("Tracing", f"{MESH}\notlp: a:4317\nzipkin: b:9411", "spec", "there is one collector"),
    cel("Extension", T, "spec", "either Lua or Wasm"),
    cel(
        "HealthCheck",
        f"{T}\ntype: TCP\nhttp: {{path: /}}",
        "spec.http",
        "no effect on checks of another type",
    ),
    cel("AccessLog", f"{MESH}\nformat: json\nline: a", "spec.line", "JSON line is made of fields"),
    cel("Workload", "address: 10.0.0.1\ninterception: {}", "spec.interception", "there is no sidecar"),
    cel(
        "LoadBalancing",
        f"{T}\nalgorithm: ringHash\nringHash: {{minimumSize: 9, maximumSize: 8}}",
        "spec.ringHash.minimumSize",
    ),
)
WEBHOOK = (
    webhook("RetryPolicy", f"{T}\nperTryTimeout: 0s", "spec.perTryTimeout", "no time at all"),
    webhook(
        "LoadBalancing",
        f"{T}\nalgorithm: maglev\nmaglev: {{tableSize: 1000}}",
        "spec.maglev.tableSize",
        "not a prime",
    ),
    webhook(
        "AccessPolicy",
        f"{T}\naction: allow\nrules: [{{to: [{{paths: [items]}}]}}]",
        "spec.rules[0].to[0].paths[0]",
        "slash",
    ),
    webhook("Extension", f"{T}\nlua: 'function envoy_on_request('", "spec.lua"),
    webhook(
        "EnvoyPatch", f"{T}\nresource: Cluster\nname: a\nmerge: {{nonsense: 1}}", "spec.merge", "nonsense"
    ),
    webhook(
        "Service",
        "ports: [{name: http, port: 80}, {name: http, port: 81}]",
        "spec.ports[1].name",
        "already that of",
    ),
    webhook(
        "Service", "address: nowhere\nports: [{name: http, port: 80}]", "spec.address", "not an IP address"
    ),
    webhook("EgressPolicy", f"{MESH}\nnever: [nowhere]", "spec.never[0]", "not a network"),
    webhook("Compression", f"{T}\ncontentTypes: [text]", "spec.contentTypes[0]", "not a media type"),
    webhook(
        "RolloutPolicy",
        f"{MESH}\nstages: [{{percent: 50}}, {{percent: 10}}]",
        "spec.stages[1].percent",
        "adds nothing",
    ),
    webhook("ExternalAuthorization", f"{T}", "spec", "nothing is said"),
    webhook("ServiceSubset", "service: api\nlabels: {'': a}", "spec.labels", "no name"),
    # What reaches beyond the namespace that it stands in.
    webhook(
        "FaultInjection", f"{MESH}\nabort: {{httpStatus: 418}}", "spec.targetRefs[0]", "the whole mesh", ROOT
    ),
    webhook(
        "AccessPolicy",
        "targetRefs: [{kind: Service, name: api}, {kind: Service, name: api, namespace: elsewhere}]\naction: allow\nrules: [{}]",
        "spec.targetRefs[1]",
        "namespace elsewhere",
        ROOT,
    ),
    webhook(
        "AccessPolicy",
        "targetRefs: [{kind: Namespace, name: elsewhere}]\ndefault: deny",
        "spec.targetRefs[0]",
        "namespace elsewhere",
        ROOT,
    ),
    webhook(
        "EnvoyPatch",
        f"{T}\nresource: Cluster\nname: 'default/api:80'\nmerge: {{connectTimeout: 3s}}",
        "kind: ",
        "objects of kind EnvoyPatch are in force in",
        ROOT,
    ),
    webhook("Extension", f"{T}\nlua: 'function envoy_on_request(handle) end'", "kind: ", ROOT),
)
WRONG = (*SCHEMA, *CEL, *WEBHOOK)
