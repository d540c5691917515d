"""A policy of every kind that no request should notice, and another one of the same kind; put in force, changed and taken away under load.

Of a kind that changes the filters of a port, connections that are open go on with the old ones until they are drained: see `docs/operating.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.support.tokens import Issuer, SigningKey
from tests.support.traffic.load import Load, Report
from tests.support.traffic.world import Traffic

ONLY = frozenset({"web-1", "api-1", "api-2", "grpc-1"})
"""The workloads that are needed: few, so that the machine bears the load."""

Specs = tuple[str, str]
MESH = "targetRefs: [{kind: Mesh}]"
BOTH = "targetRefs: [{kind: Service, name: api}, {kind: Service, name: grpc}]"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ASKED = "protocol: http, service: {name: store, port: 80}, failure: allow"
SCRIPT = "function envoy_on_response(handle) handle:headers():add('x-by', '%s') end"


def _to(target: str, first: str, second: str) -> Specs:
    return f"{target}, {first}", f"{target}, {second}"


CHAINS: Mapping[str, Specs] = {
    "AccessLog": _to(MESH, "file: /dev/null", "file: /dev/null, format: text, only: {errors: true}"),
    "Compression": _to(BOTH, "algorithms: [gzip]", "algorithms: [zstd, gzip], minBytes: 10"),
    "Concurrency": _to(BOTH, "adaptive: {minRequests: 500}", "admission: {successPercent: 50}"),
    "ConnectionLimit": _to(BOTH, "connections: 5000", "connections: 6000"),
    "EgressPolicy": _to(MESH, "unknown: allow", "unknown: registryOnly"),
    "MeshTLS": _to(BOTH, "mode: permissive", 'mode: strict, minimumVersion: "1.2"'),
    "Tracing": _to(MESH, "otlp: '127.0.0.1:9', sampling: 1", "otlp: '127.0.0.1:9', sampling: 2"),
}
"""Those that change filter chains, EnvoyPatch and RequestAuthentication besides."""

ROUTES: Mapping[str, Specs] = {
    "AccessPolicy": _to(
        BOTH,
        "action: allow, rules: [{from: [{service: web}]}]",
        "action: deny, rules: [{from: [{service: api}]}]",
    ),
    "Buffering": _to(BOTH, "maxRequestBytes: 10000", "maxRequestBytes: 20000"),
    "Extension": _to(BOTH, f'lua: "{SCRIPT % "a"}"', f'side: caller, lua: "{SCRIPT % "b"}"'),
    # Of the load, gRPC calls alone are asked about: `store` permits them, and where it is not there they pass.
    "ExternalAuthorization": _to(
        BOTH, *(f"{ASKED}, timeout: {timeout}, requests: [{{methods: [POST]}}]" for timeout in ("1s", "2s"))
    ),
    "FaultInjection": _to(BOTH, "delay: {fixed: 1ms, percent: 10}", "delay: {fixed: 2ms, percent: 5}"),
    "RateLimit": _to(
        BOTH, "global: {requests: 1000000}", "global: {requests: 2000000}, local: {requests: 100000}"
    ),
}
"""Those that change routes of the callee or of callers, Metrics besides, which has a listener of its own."""


CLUSTERS: Mapping[str, Specs] = {
    "CircuitBreaker": _to(BOTH, "requests: 5000", "requests: 6000, connections: 5000"),
    "HealthCheck": _to(BOTH, "interval: 200ms, tcp: {}", "interval: 300ms, tcp: {}"),
    "LoadBalancing": _to(BOTH, "algorithm: roundRobin", "algorithm: maglev, hash: [{header: x-user}]"),
    "OutlierDetection": _to(BOTH, "consecutive5xx: 5", "consecutive5xx: 3"),
    "RetryPolicy": _to(BOTH, "attempts: 1, on: [connect-failure]", "attempts: 2, on: [connect-failure]"),
    "TimeoutPolicy": _to(BOTH, "request: 10s", "request: 12s, idle: 11s"),
}
"""Those that change clusters and endpoints."""


def _patch(traffic: Traffic) -> Specs:
    """Of the listener that callers of api-1 come in by."""
    listener = f"inbound/{traffic.member('api-1').sidecar_ports['http']}"

    def patch(via: str) -> str:
        manager = {"name": "envoy.filters.network.http_connection_manager"} | {
            "typedConfig": {"@type": MANAGER, "via": via}
        }
        merge = {"filterChains": [{"name": "default/api:80", "filters": [manager]}]}
        target = "targetRefs: [{kind: Workload, name: api-1}]"
        return f"{target}, resource: Listener, name: {listener}, merge: {json.dumps(merge)}"

    return patch("a"), patch("b")


def _metrics(traffic: Traffic) -> Specs:
    target = "targetRefs: [{kind: Workload, name: web-1}]"
    return _to(target, f"port: {traffic.port()}", f"port: {traffic.port()}, detail: all")


def _tokens(_: Traffic) -> Specs:
    def issuers(of: Issuer) -> str:
        return f"mode: optional, issuers: [{{name: a, issuer: '{of.name}', jwks: {{inline: '{of.jwks}'}}}}]"

    return _to(BOTH, *(issuers(Issuer(keys=[SigningKey.ec(kid)])) for kid in ("one", "two")))


def _always(specs: Specs) -> Callable[[Traffic], Specs]:
    return lambda _: specs


OF_CHAINS: Mapping[str, Callable[[Traffic], Specs]] = {
    **{kind: _always(specs) for kind, specs in CHAINS.items()},
    "EnvoyPatch": _patch,
    "RequestAuthentication": _tokens,
}
OF_ROUTES: Mapping[str, Callable[[Traffic], Specs]] = {
    **{kind: _always(specs) for kind, specs in ROUTES.items()},
    "Metrics": _metrics,
}


OF_CLUSTERS: Mapping[str, Callable[[Traffic], Specs]] = {
    kind: _always(specs) for kind, specs in CLUSTERS.items()
}
EVERY = {**OF_CHAINS, **OF_ROUTES, **OF_CLUSTERS}


def policy(kind: str, spec: str) -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: changing}}\nspec: {{{spec}}}\n"
    )


@dataclass(slots=True)
class Calls:
    """gRPC calls over HTTP/2, of the application and between sidecars. `wrong` says which were not answered well, and how."""

    count: int = 0
    wrong: list[str] | None = None

    @property
    def failures(self) -> list[str]:
        return self.wrong or []

    def add(self, said: str | None) -> None:
        self.count += 1
        if said is not None:
            self.wrong = [*self.failures, said]


@contextlib.asynccontextmanager
async def calling(traffic: Traffic, rate: float) -> AsyncIterator[Calls]:
    """Some gRPC calls a second, one after another, within the block."""
    calls, over = Calls(), asyncio.Event()

    async def call() -> None:
        while not over.is_set():
            answer = await traffic.grpc("grpc.mesh")
            calls.add(None if answer.ok else f"{answer.code}: {answer.details}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 1 / rate)

    async with asyncio.TaskGroup() as group:
        group.create_task(call(), name="grpc calls")
        try:
            yield calls
        finally:
            over.set()


async def change(traffic: Traffic, kinds: Iterable[str], load: Load, between: int) -> None:
    """Each of `kinds` put in force, changed and taken away, with at least `between` requests after each step."""
    for kind in kinds:
        first, second = EVERY[kind](traffic)
        async with traffic.apply(policy(kind, first)) as file:
            await load.more(between)
            load.must_not_have_failed(f"{kind} is put in force")
            await file.replace(policy(kind, second))
            await load.more(between)
            load.must_not_have_failed(f"{kind} is changed")
        await load.more(between)
        load.must_not_have_failed(f"{kind} is taken away")


def no_request_is_lost(report: Report, rate: float) -> None:
    assert report.failures == []
    assert (report.errors, report.statuses) == (0, {200: report.sent})
    assert report.rate > 0.9 * rate, (
        "the load was not what it should have been: the machine is too busy to tell"
    )
