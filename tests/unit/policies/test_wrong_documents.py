"""Wrong documents of all kinds but those of the Gateway API, each with its exact message: what is wrong, where, and the way out."""

from __future__ import annotations

import pytest

from documents.parsing import parse
from policies.registry import KINDS, POLICIES
from tests.support.wrong import Wrong, what_is_said

API = "[{kind: Service, name: api}]"


def wrong(name: str, kind: str, spec: str, *said: str, targets: str = API) -> Wrong:
    """A policy of `kind`."""
    text = (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\n"
        f"spec: {{targetRefs: {targets}, {spec}}}\n"
    )
    return Wrong(name, text, list(said))


WRONG = (
    wrong(
        "callers of an access policy beside its rules",
        "AccessPolicy",
        "default: deny, from: [{service: web}]",
        "spec.from: callers are named in rules. Move it: rules: [{from: [...]}]",
    ),
    wrong(
        "no target",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs: the list is empty. Give at least 1",
        targets="[]",
    ),
    wrong(
        "unknown kind of target",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].kind: 'Pod' is not known here. Use Mesh, Namespace, Service, Workload, HTTPRoute, GRPCRoute, TCPRoute or TLSRoute",
        targets="[{kind: Pod, name: api}]",
    ),
    wrong(
        "a target without a kind",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].kind: kind is missing. Add it",
        targets="[{name: api}]",
    ),
    wrong(
        "a service without a name",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].name: which Service is not said. Add its name",
        targets="[{kind: Service}]",
    ),
    wrong(
        "a route without a name",
        "RetryPolicy",
        "attempts: 1",
        "spec.targetRefs[0].name: which HTTPRoute is not said. Add its name",
        targets="[{kind: HTTPRoute}]",
    ),
    wrong(
        "a name of the mesh",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0]: there is one mesh, without a name. Remove name and namespace",
        targets="[{kind: Mesh, name: all}]",
    ),
    wrong(
        "a namespace of the mesh",
        "AccessLog",
        "format: json",
        "spec.targetRefs[0]: there is one mesh, without a name. Remove name and namespace",
        targets="[{kind: Mesh, namespace: shop}]",
    ),
    wrong(
        "a group that nobody has",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].group: 'apps' is not known here. Use ', meshwright.dev or gateway.networking.k8s.io'",
        targets="[{kind: Service, group: apps, name: api}]",
    ),
    wrong(
        "a name that is none",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].name: name 'Api' is not a DNS label. Use up to 63 lower-case letters, digits and '-'",
        targets="[{kind: Service, name: Api}]",
    ),
    wrong(
        "a namespace that is none",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].namespace: namespace 'a_b' is not a DNS label. Use up to 63 lower-case letters, digits and '-'",
        targets="[{kind: Service, name: api, namespace: a_b}]",
    ),
    wrong(
        "a section of a target",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs[0].sectionName: unknown field 'sectionName'. Known here: kind, group, name, namespace",
        targets="[{kind: Service, name: api, sectionName: http}]",
    ),
    wrong(
        "targets that are no list",
        "TimeoutPolicy",
        "request: 1s",
        "spec.targetRefs: {'kind': 'Service', 'name': 'api'} is a mapping. Give a list",
        targets="{kind: Service, name: api}",
    ),
    wrong(
        "a service enforces",
        "TimeoutPolicy",
        "request: 1s, enforced: true",
        "spec.enforced: only the mesh or a namespace can enforce, not Service api. Remove enforced, or target the namespace",
    ),
    wrong(
        "a route enforces",
        "RetryPolicy",
        "attempts: 1, enforced: true",
        "spec.enforced: only the mesh or a namespace can enforce, not HTTPRoute r. Remove enforced, or target the namespace",
        targets="[{kind: Mesh}, {kind: HTTPRoute, name: r}]",
    ),
    wrong(
        "enforced is text",
        "TimeoutPolicy",
        'request: 1s, enforced: "yes"',
        "spec.enforced: 'yes' is text. Give true or false",
        targets="[{kind: Mesh}]",
    ),
    wrong(
        "an unknown caller",
        "TimeoutPolicy",
        "request: 1s, from: [{servcie: web}]",
        "spec.from[0].servcie: unknown field 'servcie'. Did you mean service? Known here: namespace, service, workload, serviceAccount",
    ),
    wrong(
        "callers that are no list",
        "TimeoutPolicy",
        "request: 1s, from: {service: web}",
        "spec.from: {'service': 'web'} is a mapping. Give a list",
    ),
    wrong(
        "a caller's account",
        "TimeoutPolicy",
        'request: 1s, from: [{serviceAccount: "a/b"}]',
        "spec.from[0].serviceAccount: service account 'a/b' cannot be part of a SPIFFE id. Use letters, digits, '.', '-' and '_'",
    ),
    wrong(
        "a caller's service",
        "TimeoutPolicy",
        "request: 1s, from: [{service: Web}]",
        "spec.from[0].service: service 'Web' is not a DNS label. Use up to 63 lower-case letters, digits and '-'",
    ),
    wrong(
        "a number",
        "TimeoutPolicy",
        "request: 5",
        'spec.request: 5 is read as a number, and text is wanted. Put it in quotes: "5"',
    ),
    wrong(
        "no unit",
        "TimeoutPolicy",
        'request: "5"',
        "spec.request: '5' is not a duration. Write it like 250ms, 5s or 1m30s",
    ),
    wrong(
        "days",
        "TimeoutPolicy",
        "request: 2d",
        "spec.request: '2d' is not a duration. Write it like 250ms, 5s or 1m30s",
    ),
    wrong(
        "a fraction",
        "TimeoutPolicy",
        "idle: 1.5s",
        "spec.idle: '1.5s' is not a duration. Write it like 250ms, 5s or 1m30s",
    ),
    wrong(
        "negative",
        "TimeoutPolicy",
        "request: -1s",
        "spec.request: '-1s' is not a duration. Write it like 250ms, 5s or 1m30s",
    ),
    wrong(
        "no time for a try",
        "TimeoutPolicy",
        "perTry: 0s",
        "spec.perTry: 0s is no time at all. Use a duration above zero, or leave the field out",
    ),
    wrong(
        "no time to connect",
        "TimeoutPolicy",
        "connect: 0ms",
        "spec.connect: 0ms is no time at all. Use a duration above zero, or leave the field out",
    ),
    wrong(
        "the field of the Gateway API",
        "TimeoutPolicy",
        "backendRequest: 1s",
        "spec.backendRequest: unknown field 'backendRequest'. Known here: request, perTry, idle, stream, connect, targetRefs, from, enforced",
    ),
    wrong(
        "a slip",
        "TimeoutPolicy",
        "conect: 1s",
        "spec.conect: unknown field 'conect'. Did you mean connect? Known here: request, perTry, idle, stream, connect, targetRefs, from, enforced",
    ),
    wrong(
        "attempts below zero", "RetryPolicy", "attempts: -1", "spec.attempts: -1 is too small. Use 0 or more"
    ),
    wrong(
        "attempts as text", "RetryPolicy", 'attempts: "3"', "spec.attempts: '3' is text. Give a whole number"
    ),
    wrong(
        "an unknown condition",
        "RetryPolicy",
        "on: [timeout]",
        "spec.on[0]: 'timeout' is not known here. Use 5xx, gateway-error, reset, reset-before-request, connect-failure, envoy-ratelimited, retriable-4xx, refused-stream, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted or unavailable",
    ),
    wrong(
        "conditions as text",
        "RetryPolicy",
        "on: 5xx,reset",
        "spec.on: '5xx' is text. Give a list",
        "spec.reset: unknown field 'reset'. Known here: attempts, on, codes, perTryTimeout, backoff, retryAfter, budget, otherHost, otherPriority, targetRefs, from, enforced",
    ),
    wrong(
        "a status that is none",
        "RetryPolicy",
        "codes: [99]",
        "spec.codes[0]: 99 is not an HTTP status. Use numbers from 100 to 599",
    ),
    wrong(
        "a status as text",
        "RetryPolicy",
        'codes: ["503"]',
        "spec.codes[0]: '503' is text. Give a whole number",
    ),
    wrong(
        "a pause that ends before it begins",
        "RetryPolicy",
        "backoff: {base: 1s, max: 500ms}",
        "spec.backoff.max: 500ms is less than the base, 1s. Make it longer",
    ),
    wrong(
        "no pause",
        "RetryPolicy",
        "backoff: {base: 0s}",
        "spec.backoff.base: 0s is no time at all. Use a duration above zero, or leave the field out",
    ),
    wrong(
        "a longest pause below the default",
        "RetryPolicy",
        "backoff: {max: 10ms}",
        "spec.backoff.max: 10ms is less than the base, 25ms. Make it longer",
    ),
    wrong(
        "no header to wait by",
        "RetryPolicy",
        "retryAfter: {headers: []}",
        "spec.retryAfter.headers: the list is empty. Give at least 1",
    ),
    wrong(
        "a budget of more than all",
        "RetryPolicy",
        "budget: {percent: 120}",
        "spec.budget.percent: 120 is too large. Use 100.0 or less",
    ),
    wrong(
        "an unknown part of a budget",
        "RetryPolicy",
        "budget: {minRetries: 3}",
        "spec.budget.minRetries: unknown field 'minRetries'. Known here: percent, minPerSecond",
    ),
    wrong(
        "other host as text",
        "RetryPolicy",
        "otherHost: always",
        "spec.otherHost: 'always' is text. Give true or false",
    ),
    wrong(
        "too many connections",
        "CircuitBreaker",
        "connections: 5000000000",
        "spec.connections: 5000000000 is too large. Use 4294967295 or less",
    ),
    wrong(
        "no request at all", "CircuitBreaker", "requests: -5", "spec.requests: -5 is too small. Use 0 or more"
    ),
    wrong(
        "a slip in a limit",
        "CircuitBreaker",
        "pendingRequest: 5",
        "spec.pendingRequest: unknown field 'pendingRequest'. Did you mean pendingRequests? Known here: connections, pendingRequests, requests, retries, connectionsPerEndpoint, high, priority, targetRefs, from, enforced",
    ),
    wrong(
        "the other spelling",
        "OutlierDetection",
        "consecutive5XX: 3",
        "spec.consecutive5XX: unknown field 'consecutive5XX'. Did you mean consecutive5xx? Known here: consecutive5xx, consecutiveGatewayErrors, consecutiveLocalOriginFailures, interval, baseEjectionTime, maxEjectionTime, ejectionJitter, maxEjectionPercent, alwaysEjectOne, successRate, failurePercentage, returnOnHealthCheck, targetRefs, from, enforced",
    ),
    wrong(
        "more than everybody ejected",
        "OutlierDetection",
        "maxEjectionPercent: 101",
        "spec.maxEjectionPercent: 101 is too large. Use 100 or less",
    ),
    wrong(
        "no interval",
        "OutlierDetection",
        "interval: 0s",
        "spec.interval: 0s is no time at all. Use a duration above zero, or leave the field out",
    ),
    wrong(
        "a path without a slash",
        "HealthCheck",
        "http: {path: healthz}",
        "spec.http.path: 'healthz' is not a path. Begin it with / and leave out spaces",
    ),
    wrong(
        "bytes that are none",
        "HealthCheck",
        "tcp: {send: xyz}",
        "spec.tcp.send: 'xyz' is not hexadecimal. Use two digits for each byte, in quotes, like \"50494e47\"",
    ),
    wrong(
        "a method with a body",
        "HealthCheck",
        "http: {method: PUT}",
        "spec.http.method: 'PUT' is not known here. Use GET, HEAD, OPTIONS or POST",
    ),
    wrong(
        "an unknown algorithm",
        "LoadBalancing",
        "algorithm: fastest",
        "spec.algorithm: 'fastest' is not known here. Use leastRequest, roundRobin, random, ringHash or maglev",
    ),
    wrong(
        "a hash of two things",
        "LoadBalancing",
        "algorithm: maglev, hash: [{header: a, sourceIp: true}]",
        "spec.hash[0].sourceIp: unknown field 'sourceIp'. Known here: header, cookie, queryParameter, sourceAddress, terminal",
    ),
    wrong(
        "a negative weight",
        "LoadBalancing",
        "locality: {weights: [{region: eu, weight: -1}]}",
        "spec.locality.weights[0].weight: -1 is too small. Use 0 or more",
    ),
    wrong(
        "an answer of two kinds",
        "FaultInjection",
        "abort: {httpStatus: 503, grpcStatus: 14}",
        "spec.abort: a request cannot be answered with both an HTTP and a gRPC status. Keep httpStatus or grpcStatus",
    ),
    wrong(
        "a status that cannot be answered",
        "FaultInjection",
        "abort: {httpStatus: 99}",
        "spec.abort.httpStatus: 99 is too small. Use 200 or more",
    ),
    wrong(
        "a share above all",
        "FaultInjection",
        "delay: {fixed: 1s, percent: 101}",
        "spec.delay.percent: 101 is too large. Use 100.0 or less",
    ),
    wrong(
        "a delay of no time",
        "FaultInjection",
        "delay: {fixed: 0s}",
        "spec.delay.fixed: 0s is no time at all. Use a duration above zero, or leave the field out",
    ),
    wrong(
        "an unknown unit",
        "RateLimit",
        "local: {requests: 1, unit: week}",
        "spec.local.unit: 'week' is not known here. Use second, minute, hour or day",
    ),
    wrong(
        "no count", "RateLimit", "local: {unit: second}", "spec.local.requests: requests is missing. Add it"
    ),
    wrong(
        "nothing limited",
        "RateLimit",
        "by: caller",
        "spec: nothing is limited. Add local: {requests: 100}, or global: {requests: 100}",
    ),
    wrong(
        "limits by something else",
        "RateLimit",
        "local: {requests: 1}, by: path",
        "spec.by: 'path' is not known here. Use caller",
    ),
    wrong(
        "no bytes", "Buffering", "maxRequestBytes: 0", "spec.maxRequestBytes: 0 is too small. Use 1 or more"
    ),
    wrong(
        "an unknown compression",
        "Compression",
        "algorithms: [rar]",
        "spec.algorithms[0]: 'rar' is not known here. Use gzip, brotli or zstd",
    ),
    wrong(
        "no connection",
        "ConnectionLimit",
        "connections: 0",
        "spec.connections: 0 is too small. Use 1 or more",
    ),
    wrong(
        "callers of what is the same for all",
        "ConnectionLimit",
        "connections: 5, from: [{service: web}]",
        "spec.from: a ConnectionLimit holds for all callers: it cannot tell them apart. Remove from",
    ),
    wrong(
        "an unknown format",
        "AccessLog",
        "format: xml",
        "spec.format: 'xml' is not known here. Use json or text",
    ),
    wrong(
        "a field that Envoy does not know",
        "AccessLog",
        'format: json, fields: {a: "%NOPE%"}',
        "spec.fields.a: '%NOPE%': no operator %NOPE%. See Envoy's page of access log operators",
    ),
    wrong(
        "an egress of half",
        "EgressPolicy",
        "unknown: maybe",
        "spec.unknown: 'maybe' is not known here. Use allow or registryOnly",
    ),
    wrong(
        "no code",
        "Extension",
        "side: callee",
        "spec: an extension is either Lua or Wasm. Give exactly one of lua and wasm",
    ),
    wrong(
        "a module of a relative path",
        "Extension",
        "wasm: {file: a.wasm, sha256: 0000000000000000000000000000000000000000000000000000000000000000}",
        "spec.wasm.file: 'a.wasm' is not an absolute path. Use the path of the module on the host of the proxy",
    ),
    wrong(
        "a patch of a secret",
        "EnvoyPatch",
        "resource: Secret, name: a, merge: {a: 1}",
        "spec.resource: 'Secret' is not known here. Use Cluster, RouteConfiguration or Listener",
    ),
    wrong(
        "an unknown kind of tracing",
        "Tracing",
        "sampling: {percent: 120}",
        "spec.sampling: {'percent': 120} is not right here. Input should be a valid number",
    ),
    wrong(
        "an address without a port",
        "Tracing",
        "otlp: otel.example.org",
        "spec.otlp: 'otel.example.org' is not host:port. Write it like otel.example.org:4317 or [2001:db8::1]:4317",
    ),
    wrong(
        "an unknown detail",
        "Metrics",
        "detail: everything",
        "spec.detail: 'everything' is not known here. Use standard or all",
    ),
    wrong(
        "no request at once",
        "Concurrency",
        "adaptive: {maxRequests: 0}",
        "spec.adaptive.maxRequests: 0 is too small. Use 1 or more",
    ),
    wrong(
        "a share of success above all",
        "Concurrency",
        "admission: {successPercent: 101}",
        "spec.admission.successPercent: 101 is too large. Use 100.0 or less",
    ),
    # services, workloads, and what is wrong with a document of any kind
    Wrong(
        "a version that is not there",
        "apiVersion: meshwright.dev/v1\nkind: TimeoutPolicy\nmetadata: {name: a}\nspec: {}\n",
        [
            "apiVersion: there is no TimeoutPolicy of 'meshwright.dev/v1'. Use apiVersion: meshwright.dev/v1alpha1"
        ],
    ),
    Wrong(
        "a policy without a name",
        "apiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {}\nspec: {targetRefs: [{kind: Mesh}], request: 1s}\n",
        ["metadata.name: name is missing. Add it"],
    ),
    Wrong(
        "a date without a zone",
        "apiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {name: a, creationTimestamp: 2026-01-01T00:00:00}\nspec: {targetRefs: [{kind: Mesh}], request: 1s}\n",
        [
            "metadata.creationTimestamp: '2026-01-01T00:00:00' has no time zone. Add one, as in 2026-01-31T12:00:00Z"
        ],
    ),
    Wrong(
        "a policy without a spec",
        "apiVersion: meshwright.dev/v1alpha1\nkind: RetryPolicy\nmetadata: {name: a}\nspec: null\n",
        ["spec: there is nothing here. Give a mapping"],
    ),
    Wrong(
        "a policy that ends before its spec",
        "apiVersion: meshwright.dev/v1alpha1\nkind: RetryPolicy\nmetadata: {name: a}\n",
        ["spec: spec is missing. Add it"],
    ),
    Wrong(
        "a service without ports",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: a}\nspec: {ports: []}\n",
        ["spec.ports: the list is empty. Give at least 1"],
    ),
    Wrong(
        "an unknown protocol",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80, protocol: https}]}\n",
        ["spec.ports[0].protocol: 'https' is not known here. Use http, http2, grpc, tcp, tls or udp"],
    ),
    Wrong(
        "a port beyond all",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 70000}]}\n",
        ["spec.ports[0].port: 70000 is not a port. Use a number from 1 to 65535"],
    ),
    Wrong(
        "two ports of one name",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: a, port: 1}, {name: a, port: 2}]}\n",
        ["spec.ports[1].name: name a is already that of ports[0]. Give each its own name"],
    ),
    Wrong(
        "a virtual address that is a name",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: a, port: 1}], address: localhost}\n",
        ["spec.address: 'localhost' is not an IP address. Use an IPv4 or IPv6 address, not a name"],
    ),
    Wrong(
        "a workload without an address",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {name: a}\nspec: {services: [api]}\n",
        ["spec.address: address is missing. Add it"],
    ),
    Wrong(
        "the address of everybody",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {name: a}\nspec: {address: 0.0.0.0}\n",
        [
            "spec.address: 0.0.0.0 is not the address of one instance. Use the address at which others reach it"
        ],
    ),
    Wrong(
        "one port for the application and the sidecar",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {name: a}\nspec: {address: 127.0.0.1, meshed: true, ports: [{name: a, app: 15101, sidecar: 15101}]}\n",
        ["spec.ports[0].sidecar: port 15101 is already taken by spec.ports[0].app. Use another port"],
    ),
    Wrong(
        "interception without a sidecar",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {name: a}\nspec: {address: 127.0.0.1, interception: {}}\n",
        ["spec.interception: there is no sidecar to send its traffic to. Set meshed: true"],
    ),
    wrong(
        "keys of an issuer nowhere",
        "RequestAuthentication",
        "issuers: [{issuer: urn:a}]",
        "spec.issuers[0].jwks: jwks is missing. Add it",
    ),
    wrong(
        "an issuer that is none",
        "RequestAuthentication",
        "rules: [{match: {}, mode: maybe}]",
        "spec.rules[0].mode: 'maybe' is not known here. Use required, optional or off",
    ),
    wrong(
        "an authorizer that callers are told apart by",
        "ExternalAuthorization",
        "enabled: false, from: [{service: web}]",
        "spec.from: the sidecar of who is called asks for all callers. Remove from, or target a route",
    ),
    wrong(
        "an authorizer of connections",
        "ExternalAuthorization",
        "enabled: false",
        "spec.targetRefs[0].kind: a TCPRoute has connections, not requests. Target an HTTPRoute, a GRPCRoute, or a Service",
        targets="[{kind: TCPRoute, name: r}]",
    ),
    Wrong(
        "an unknown health",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {name: a}\nspec: {address: 127.0.0.1, health: dead}\n",
        ["spec.health: 'dead' is not known here. Use passing, warning or critical"],
    ),
    Wrong(
        "a subset of everything",
        "apiVersion: meshwright.dev/v1alpha1\nkind: ServiceSubset\nmetadata: {name: a}\nspec: {service: api, labels: {}}\n",
        ["spec.labels: the mapping is empty. Give at least 1"],
    ),
    Wrong(
        "a label without a name",
        'apiVersion: meshwright.dev/v1alpha1\nkind: ServiceSubset\nmetadata: {name: a}\nspec: {service: api, labels: {"": v2}}\n',
        ["spec.labels: a label has no name. Give it one, or remove it"],
    ),
    Wrong(
        "no host",
        "apiVersion: meshwright.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: a}\nspec: {hosts: [], ports: [{name: a, port: 80}]}\n",
        ["spec.hosts: the list is empty. Give at least 1"],
    ),
    Wrong(
        "TLS with a certificate and no mode for it",
        "apiVersion: meshwright.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: a}\nspec: {hosts: [a.example], ports: [{name: a, port: 80}], tls: {certificateFile: /a.pem}}\n",
        ["spec.tls.certificateFile: certificateFile has no effect. Set mode: mutual, or remove it"],
    ),
    Wrong(
        "a wildcard of TCP",
        'apiVersion: meshwright.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: a}\nspec: {hosts: ["*.example.com"], ports: [{name: a, port: 80}]}\n',
        [
            "spec.ports[0].protocol: a connection of tcp does not say which name behind the wildcard is meant. Use plain hosts, or http, http2 or grpc"
        ],
    ),
    Wrong(
        "a secret of nothing",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Secret\nmetadata: {name: a}\nspec: {}\n",
        ["spec: no file is named. Add certificateFile and keyFile, or authoritiesFile"],
    ),
    Wrong(
        "a key without its certificate",
        "apiVersion: meshwright.dev/v1alpha1\nkind: Secret\nmetadata: {name: a}\nspec: {keyFile: a.key}\n",
        ["spec.certificateFile: certificateFile is missing. A key needs its certificate"],
    ),
    Wrong(
        "a key in a document",
        'apiVersion: meshwright.dev/v1alpha1\nkind: Secret\nmetadata: {name: a}\nspec: {certificateFile: a.pem, keyFile: "-----BEGIN PRIVATE KEY-----"}\n',
        ["spec.keyFile: this is no path. Put the PEM text into a file, and its path here"],
    ),
    Wrong(
        "ciphers of a TLS that is not taken",
        "apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {name: p}\nspec:\n  targetRefs: [{kind: Mesh}]\n"
        "  minimumVersion: 1.3\n  cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]\n",
        [
            'spec.cipherSuites: the suites of TLS 1.3 are fixed, and 1.2 is not taken. Set minimumVersion to "1.2", or remove cipherSuites'
        ],
    ),
)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_what_is_said_of_it(case: Wrong) -> None:
    errors = parse("d.yaml", case.text.encode(), KINDS).errors
    assert what_is_said(errors) == case.said


def test_every_kind_of_policy_is_among_them() -> None:
    texts = "".join(case.text for case in WRONG)
    assert [each.name for each in POLICIES if f"kind: {each.name}\n" not in texts] == []


def test_names_tell_them_apart() -> None:
    assert len({case.name for case in WRONG}) == len(WRONG) >= 60
