"""Sidecars on a real cluster: who gets one, what it holds and what it holds up, and how a pod ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from inject.workloads import injected
from meshwright.kubernetes.proxies import injection_options
from meshwright.settings import Settings
from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.installed import INJECTED

pytestmark = pytest.mark.asyncio(loop_scope="module")
SIDECAR = "meshwright-proxy"

HEALTH = """
import grpc, sys, time
from concurrent import futures

class Health(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            said = lambda asked, _: b"\\x08\\x01" if asked == b"\\x0a\\x04shop" else b"\\x08\\x02"
            return grpc.unary_unary_rpc_method_handler(said)

server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Health(),))
server.add_insecure_port("0.0.0.0:9000")
server.start()
server.wait_for_termination()
"""
"""Says SERVING for the service `shop` alone."""


def health() -> dict[str, Any]:
    """A gRPC server, in the image that has grpc."""
    return objects.container(
        "health",
        ("python3", "-u", "-c", HEALTH),
        image="meshwright:dev",
        startupProbe={
            "grpc": {"port": 9000, "service": "shop"},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(installed: Cluster) -> AsyncIterator[tuple[Cluster, str]]:
    """A namespace with injection, and `api` with a probe of each kind in it. Mutual TLS is strict, as it is where no document says otherwise."""
    async with installed.namespace("4-inject", INJECTED) as namespace:
        echo = objects.echo()
        echo["livenessProbe"] = {"tcpSocket": {"port": "http"}, "periodSeconds": 1}
        await installed.apply(
            objects.service_account("api"),
            objects.deployment("api", echo, health(), account="api"),
            objects.service("api"),
            objects.deployment("web", objects.container()),
            namespace=namespace,
        )
        await installed.ready(namespace, "deploy/api", "deploy/web", patience=240)
        yield installed, namespace


def containers(pod: dict[str, Any]) -> list[str]:
    spec = pod["spec"]
    return [each["name"] for each in (*spec.get("initContainers", ()), *spec["containers"])]


async def the_pod(cluster: Cluster, namespace: str, app: str) -> dict[str, Any]:
    """Of those that do not end already."""

    async def one() -> dict[str, Any] | None:
        pods = await cluster.objects("pods", namespace, f"app={app}")
        there = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
        return there[0] if len(there) == 1 else None

    return await cluster.eventually(one, f"one pod of {app}")


async def called(cluster: Cluster, namespace: str, url: str) -> dict[str, Any]:
    command = ("curl", "-sS", "--fail-with-body", "-m", "10", url)
    answer: dict[str, Any] = json.loads(
        await cluster.exec(namespace, "deploy/web", *command, container="app")
    )
    return answer


async def test_probes_of_each_kind_pass_under_strict_mutual_tls(mesh: tuple[Cluster, str]) -> None:
    """`ready` saw that they do; here, that they are made by the agent, in plaintext past the door that is closed to all others."""
    cluster, namespace = mesh
    pod = await the_pod(cluster, namespace, "api")
    probes = [
        each[probe]["httpGet"]["path"]
        for each in pod["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in each
    ]
    assert sorted(probes) == [
        "/app-health/echo/liveness",
        "/app-health/echo/readiness",
        "/app-health/health/startup",
    ]
    address = pod["status"]["podIP"]
    async with cluster.namespace("4-outside") as outside:
        await cluster.apply(objects.pod("stranger"), namespace=outside)
        await cluster.ready(outside, "pod/stranger")

        async def status(port: int, path: str) -> str:
            command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10")
            try:
                return await cluster.exec(outside, "stranger", *command, f"http://{address}:{port}{path}")
            except KubectlError:
                return "none"

        assert await status(8080, "/ready") == "none"
        assert await status(15021, "/app-health/echo/readiness") == "200"
        assert await status(15021, "/app-health/echo/other") == "404"
        assert await status(15021, "/leave") == "404"


async def test_a_container_that_ends_alone_leaves_its_pod_in_the_mesh(mesh: tuple[Cluster, str]) -> None:
    """The kubelet calls the container's preStop hook for a liveness probe that fails, too."""
    cluster, namespace = mesh
    await cluster.apply(
        objects.deployment(
            "flaky",
            objects.echo()
            | {
                "livenessProbe": {
                    "exec": {"command": ["sh", "-c", "! test -f /tmp/ill"]},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            },
            terminationGracePeriodSeconds=1,
        ),
        objects.service("flaky"),
        namespace=namespace,
    )
    await cluster.ready(namespace, "deploy/flaky")
    name = (await the_pod(cluster, namespace, "flaky"))["metadata"]["name"]
    await cluster.exec(namespace, name, "touch", "/tmp/ill", container="echo")

    async def restarted() -> bool:
        pod = await cluster.get("pod", name, namespace)
        (echo,) = (each for each in pod["status"]["containerStatuses"] if each["name"] == "echo")
        return bool(echo["restartCount"] and echo["ready"])

    await cluster.eventually(restarted, "the container restarted")
    assert (await called(cluster, namespace, "http://flaky"))["pod"] == name


async def test_a_pod_that_ends_tells_its_callers_first(mesh: tuple[Cluster, str]) -> None:
    cluster, namespace = mesh
    # One process namespace: the application is not its first process, which would not end by SIGTERM.
    await cluster.apply(
        objects.deployment("brief", shareProcessNamespace=True),
        objects.service("brief"),
        namespace=namespace,
    )
    await cluster.ready(namespace, "deploy/brief")
    name = (await the_pod(cluster, namespace, "brief"))["metadata"]["name"]
    await called(cluster, namespace, "http://brief")
    following = cluster.run("-n", namespace, "logs", "-f", name, "-c", SIDECAR)
    log = asyncio.ensure_future(following)
    await cluster.delete("pod", name, namespace)
    said = await log
    events = [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")]
    assert "not all callers have heard that this proxy ends" not in events
    assert events[-1] == "envoy stopped", events
    # The hook of the application waited for the agent's word: it could not have been called without.
    failed = [
        each["message"]
        for each in await cluster.objects("events", namespace)
        if each["reason"] == "FailedPreStopHook" and each["involvedObject"]["name"] == name
    ]
    assert failed == []


async def test_a_job_ends(mesh: tuple[Cluster, str]) -> None:
    """Its application has called through the sidecar, which was there before it, and goes after it."""
    cluster, namespace = mesh
    call = objects.container(
        "call", ("curl", "-sS", "--fail-with-body", "-m", "20", f"http://api.{namespace}")
    )
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [call]}},
        },
    }
    await cluster.apply(job, namespace=namespace)
    await cluster.run(
        "-n", namespace, "wait", "--for=condition=Complete", "job/once", "--timeout=120s", patience=130
    )
    (pod,) = await cluster.objects("pods", namespace, "job-name=once")
    assert SIDECAR in containers(pod)
    said = json.loads(await cluster.logs(namespace, pod["metadata"]["name"], "call"))
    assert "x-forwarded-client-cert" in said["headers"]


async def test_labels_say_who_has_a_sidecar(mesh: tuple[Cluster, str]) -> None:
    cluster, namespace = mesh
    disabled, enabled = ({"meshwright.dev/inject": each} for each in ("disabled", "enabled"))
    await cluster.apply(
        objects.pod("out", labels=disabled), objects.pod("node", hostNetwork=True), namespace=namespace
    )
    for name in ("out", "node"):
        assert SIDECAR not in containers(await cluster.get("pod", name, namespace))
    async with cluster.namespace("4-plain") as plain:
        await cluster.apply(objects.pod("in", labels=enabled), objects.pod("not"), namespace=plain)
        assert SIDECAR in containers(await cluster.get("pod", "in", plain))
        assert SIDECAR not in containers(await cluster.get("pod", "not", plain))
        await cluster.ready(plain, "pod/in")


async def test_a_pod_that_cannot_have_a_sidecar_is_refused_with_the_reason(mesh: tuple[Cluster, str]) -> None:
    cluster, namespace = mesh
    taken = objects.container(ports=[{"containerPort": 15006}])
    with pytest.raises(KubectlError, match=r"container app: port 15006 is the sidecar's"):
        await cluster.apply(objects.pod("taken", taken), namespace=namespace)
    misspelt = objects.pod("misspelt")
    misspelt["metadata"]["annotations"] = {"meshwright.dev/exclude-inbound-ports": "http"}
    with pytest.raises(KubectlError, match=r"annotation meshwright.dev/exclude-inbound-ports: 'http' is not"):
        await cluster.apply(misspelt, namespace=namespace)


async def test_all_but_interception_may_run_under_restricted_pod_security(installed: Cluster) -> None:
    labels = {**INJECTED, "pod-security.kubernetes.io/enforce": "restricted"}
    async with installed.namespace("4-restricted", labels) as namespace:
        pod = objects.pod("none")
        pod["metadata"]["annotations"] = {"meshwright.dev/interception": "none"}
        await installed.apply(pod, namespace=namespace)
        assert SIDECAR in containers(await installed.get("pod", "none", namespace))
        with pytest.raises(KubectlError, match=r"meshwright-intercept"):
            await installed.apply(objects.pod("init"), namespace=namespace)


async def test_offline_and_by_the_webhook_a_pod_is_the_same(mesh: tuple[Cluster, str]) -> None:
    cluster, namespace = mesh
    configuration = await cluster.get("configmap", "meshwright", "meshwright-system")
    settings = Settings.model_validate(yaml.safe_load(configuration["data"]["settings.yaml"]))
    given = objects.pod("both", objects.echo())
    await cluster.apply(injected(given, injection_options(settings)).value, namespace=namespace)
    offline = await cluster.get("pod", "both", namespace)
    await cluster.delete("pod", "both", namespace)
    await cluster.apply(given, namespace=namespace)
    webhook = await cluster.get("pod", "both", namespace)
    for pod in (offline, webhook):
        for each in pod["spec"]["volumes"]:
            if each["name"].startswith("kube-api-access-"):  # named at random by the API server
                each["name"] = "kube-api-access"
        for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
            for mount in each["volumeMounts"]:
                if mount["name"].startswith("kube-api-access-"):
                    mount["name"] = "kube-api-access"
        for place in (
            pod["spec"]["volumes"],
            *(each["volumeMounts"] for each in pod["spec"]["initContainers"]),
        ):
            place.sort(key=lambda each: str(each["name"]))
    assert offline["spec"] == webhook["spec"]
    assert offline["metadata"]["annotations"] == webhook["metadata"]["annotations"]
