"""Discovery of real pods behind real Services, and what one who may read a single namespace sees."""

from __future__ import annotations

from pathlib import Path

from mesh.names import Key
from mesh.workload import Health
from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.discovered import a_source, discovering
from tests.support.kubernetes.line import a_line, kubeconfig

RULES = [
    {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]


async def test_pods_come_serve_and_go(cluster: Cluster) -> None:
    async with cluster.namespace("2-pods") as namespace, discovering(a_source(cluster.kubeconfig)) as seen:
        web = Key(namespace, "web")
        await cluster.apply(
            objects.service_account("shopper"),
            objects.service("web"),
            objects.deployment(
                "web",
                replicas=2,
                account="shopper",
                labels={"tier": "front"},
                terminationGracePeriodSeconds=1,
            ),
            namespace=namespace,
        )
        await seen.until(lambda: len(seen.live(web)) == 2, "two endpoints")
        service = seen.state.services[web]
        given = await cluster.get("service", "web", namespace)
        assert service.address == given["spec"]["clusterIP"]
        pods = {each["metadata"]["name"]: each for each in await cluster.objects("pods", namespace)}
        for name in seen.live(web):
            workload = seen.state.workloads[Key(namespace, name)]
            assert workload.address == pods[name]["status"]["podIP"]
            assert workload.service_account == "shopper"
            assert ("tier", "front") in workload.labels
            assert workload.ports[0].app == 8080
        await cluster.run("-n", namespace, "scale", "deploy/web", "--replicas=0")
        await seen.until(lambda: not seen.live(web), "no endpoint is called")
        await seen.until(
            lambda: not any(key.namespace == namespace for key in seen.state.workloads), "the pods are gone"
        )
        assert not seen.status().holds, "removals that were told one by one are believed"
        assert web in seen.state.services


async def test_a_pod_that_is_not_ready_is_known_and_not_called(cluster: Cluster) -> None:
    async with cluster.namespace("2-unready") as namespace, discovering(a_source(cluster.kubeconfig)) as seen:
        never = {**objects.echo(), "readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}}
        await cluster.apply(objects.service("web"), objects.deployment("web", never), namespace=namespace)

        def critical() -> bool:
            there = [each for key, each in seen.state.workloads.items() if key.namespace == namespace]
            return bool(there) and all(
                each.services == (Key(namespace, "web"),) and each.health is Health.CRITICAL for each in there
            )

        await seen.until(critical, "a workload that serves and is critical")
        assert not seen.live(Key(namespace, "web"))


async def test_who_may_read_one_namespace_sees_that_one_and_is_told_what_is_missing(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with cluster.namespace("2-narrow") as namespace, a_line(cluster) as line:
        bound = {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}
        await cluster.apply(
            objects.service("web"),
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "reader"},
                "rules": RULES,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "reader"},
                "roleRef": bound,
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
            },
            namespace=namespace,
        )
        token = (await cluster.run("-n", namespace, "create", "token", "default")).strip()
        config = await kubeconfig(cluster, line, tmp_path / "config", token)
        async with discovering(a_source(config, namespace)) as seen:
            await seen.until(lambda: Key(namespace, "web") in seen.state.services, "the service")
            assert {key.namespace for key in seen.state.services} == {namespace}
            await seen.until(lambda: len(seen.status().warnings) == 2, "two warnings")
            nodes, namespaces = sorted(seen.status().warnings, reverse=True)
            assert "localities are missing" in nodes
            assert 'resources: ["nodes"]' in nodes
            assert "labels of namespaces are missing" in namespaces
            assert not any(token in each for each in seen.status().warnings)
