"""Policies of every kind, applied by kubectl, take effect: seen by callers, or in what the sidecars' Envoys run with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
import yaml

from policies.reach import FOR_ADMINS
from policies.registry import KINDS
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.installed import SYSTEM
from tests.support.kubernetes.mesh import API, Mesh, a_mesh
from tests.support.kubernetes.sidecars import of_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

Seen = Callable[[Mesh], Awaitable[bool]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(installed: Cluster) -> AsyncIterator[Mesh]:
    async with a_mesh(installed, "6-policies") as made:
        yield made


def answers(status: int, path: str = "/", *curl: str) -> Seen:
    """`web` gets that status from `api`."""

    async def seen(mesh: Mesh) -> bool:
        return await mesh.status(API + path, *curl) == status

    return seen


def header(said: str, *curl: str) -> Seen:
    """`web` gets an answer of `api` with that header."""

    async def seen(mesh: Mesh) -> bool:
        command = ("curl", "-s", "-o", "/dev/null", "-D", "-", "-m", "10", *curl, API)
        got = await mesh.cluster.exec(mesh.namespace, "deploy/web", *command, container="app")
        return said in got.lower()

    return seen


def runs_with(part: str, whose: str = "web") -> Seen:
    """The Envoy of `whose` has `part` in its configuration."""

    async def seen(mesh: Mesh) -> bool:
        return part in await of_envoy(
            mesh.cluster, mesh.namespace, f"deploy/{whose}", "/config_dump?include_eds"
        )

    return seen


async def _logged(mesh: Mesh) -> bool:
    await mesh.status(f"{API}/logged-here")
    return "/logged-here" in await mesh.cluster.logs(mesh.namespace, "deploy/api", "meshwright-proxy")


async def _stranger_is_let_in(mesh: Mesh) -> bool:
    return await mesh.stranger(f"{API}.{mesh.namespace}") == 200


async def _closed(mesh: Mesh) -> bool:
    return await mesh.status(f"{mesh.cluster.api_server}/version", "-k") == 0


async def _accepted(mesh: Mesh) -> bool:
    found = await mesh.cluster.get("rolloutpolicies.meshwright.dev", "policy", mesh.namespace)
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == "Accepted" and each["status"] == "True" for each in conditions)


TABLE: dict[str, tuple[str, Seen]] = {
    "AccessLog": ("{targetRefs: [TARGET], format: json}", _logged),
    "AccessPolicy": (
        "{targetRefs: [TARGET], action: deny, rules: [{from: [{serviceAccount: web}], to: [{paths: [/secret]}]}]}",
        answers(403, "/secret"),
    ),
    "Buffering": ("{targetRefs: [TARGET], maxRequestBytes: 1024}", answers(413, "/", "-d", "x" * 4096)),
    "CircuitBreaker": ("{targetRefs: [TARGET], connections: 217}", runs_with('"max_connections": 217')),
    "Compression": (
        "{targetRefs: [TARGET], algorithms: [gzip], contentTypes: [application/json], minBytes: 64}",
        header("content-encoding: gzip", "-H", "accept-encoding: gzip"),
    ),
    "Concurrency": (
        "{targetRefs: [TARGET], adaptive: {maxRequests: 200, measureEvery: 60s}}",
        runs_with("max_concurrency_limit", "api"),
    ),
    "ConnectionLimit": (
        "{targetRefs: [TARGET], connections: 219}",
        runs_with('"max_connections": "219"', "api"),
    ),
    "EgressPolicy": ("{targetRefs: [{kind: Namespace}], unknown: registryOnly}", _closed),
    "EnvoyPatch": (
        "{targetRefs: [TARGET], resource: Cluster, name: 'NAMESPACE/api:80', merge: {preconnectPolicy: {perUpstreamPreconnectRatio: 1.5}}}",
        runs_with("per_upstream_preconnect_ratio"),
    ),
    "Extension": (
        "{targetRefs: [TARGET], side: callee, lua: \"function envoy_on_response(handle) handle:headers():replace('x-served-by', 'lua') end\"}",
        header("x-served-by: lua"),
    ),
    "ExternalAuthorization": (
        "{targetRefs: [TARGET], protocol: grpc, service: {name: nobody, port: 9000}, timeout: 200ms, failure: deny}",
        answers(503),  # nobody is there to permit it
    ),
    "FaultInjection": ("{targetRefs: [TARGET], abort: {httpStatus: 418, percent: 100}}", answers(418)),
    "HealthCheck": (
        "{targetRefs: [TARGET], interval: 5s, timeout: 1s, http: {path: /healthz-of-mine, statuses: [200]}}",
        runs_with("/healthz-of-mine"),
    ),
    "LoadBalancing": (
        "{targetRefs: [TARGET], algorithm: maglev, hash: [{header: x-user-of-mine}]}",
        runs_with("x-user-of-mine"),
    ),
    "MeshTLS": ("{targetRefs: [TARGET], mode: permissive}", _stranger_is_let_in),
    "Metrics": ("{targetRefs: [WORKLOAD], port: 15090}", runs_with('"port_value": 15090', "api")),
    "OutlierDetection": ("{targetRefs: [TARGET], consecutive5xx: 217}", runs_with('"consecutive_5xx": 217')),
    "RateLimit": ("{targetRefs: [TARGET], local: {requests: 1, unit: hour, burst: 1}}", answers(429)),
    "RequestAuthentication": (
        "{targetRefs: [TARGET], mode: required, issuers: [{name: a, issuer: 'https://a.b', audiences: [b], jwks: {uri: 'https://a.b/c'}}]}",
        answers(401),
    ),
    "RetryPolicy": (
        "{targetRefs: [TARGET], attempts: 2, 'on': [5xx], perTryTimeout: 517ms}",
        runs_with('"per_try_timeout": "0.517s"'),
    ),
    "RolloutPolicy": (
        "{targetRefs: [{kind: Namespace}], stages: [{percent: 50}, {percent: 100}], bake: 1m}",
        _accepted,
    ),
    "TimeoutPolicy": ("{targetRefs: [TARGET], request: 2518ms}", runs_with('"2.518s"')),
    "Tracing": (
        "{targetRefs: [{kind: Namespace}], otlp: '127.0.0.1:4317', sampling: 5, tags: {tenant: {header: x-tenant-of-mine, default: none}}}",
        runs_with("x-tenant-of-mine"),
    ),
}
"""Of each kind: a spec, and what is seen then that was not before."""


async def test_no_kind_of_policy_is_left_out() -> None:
    ours = {kind.name for kind in KINDS if "meshwright.dev" in str(kind.api_version)}
    assert ours - set(TABLE) == {"Service", "Workload", "ServiceSubset", "Secret", "ExternalService"}


@pytest.mark.parametrize("kind", TABLE)
async def test_a_policy_takes_effect(mesh: Mesh, kind: str) -> None:
    spec, seen = TABLE[kind]
    pods = await mesh.cluster.objects("pods", mesh.namespace, "app=api")
    text = (
        spec.replace("TARGET", "{kind: Service, name: api, namespace: NAMESPACE}")
        .replace("WORKLOAD", f"{{kind: Workload, name: {pods[0]['metadata']['name']}}}")
        .replace("NAMESPACE", mesh.namespace)
    )
    document: dict[str, Any] = {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "policy"},
        "spec": yaml.safe_load(text),
    }

    async def is_seen() -> bool:
        try:
            return await seen(mesh)
        except KubectlError:
            return False

    if kind != "RolloutPolicy":
        assert not await is_seen(), "it is so already without the policy"
    where = SYSTEM if kind in FOR_ADMINS else mesh.namespace
    await mesh.cluster.apply(document, namespace=where)
    resource = f"{kind.lower()}.meshwright.dev"
    try:
        await mesh.cluster.eventually(is_seen, f"{kind} takes effect", patience=60)
    finally:
        await mesh.cluster.delete(resource, "policy", where)
    if kind not in {"AccessLog", "RolloutPolicy"}:  # what was written stays written

        async def over() -> bool:
            return not await is_seen()

        await mesh.cluster.eventually(over, f"{kind} is over", patience=60)


async def test_routes_and_subsets_take_effect(mesh: Mesh) -> None:
    documents = yaml.safe_load_all("""
apiVersion: meshwright.dev/v1alpha1
kind: ServiceSubset
metadata: {name: api-echo}
spec: {service: api, labels: {app: api}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: subset}]}}]
    backendRefs: [{group: meshwright.dev, kind: ServiceSubset, name: api-echo, port: 80}]
""")
    await mesh.cluster.apply(*documents, namespace=mesh.namespace)
    try:
        seen = header("x-route: subset")
        await mesh.cluster.eventually(lambda: seen(mesh), "the route takes effect", patience=60)
    finally:
        await mesh.cluster.delete("httproute", "api", mesh.namespace)
        await mesh.cluster.delete("servicesubset", "api-echo", mesh.namespace)
