"""The cluster itself is a real one: what our tests rely on works with no part of ours in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster, KubectlError


@pytest.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    async with cluster.namespace("1-cluster", {"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


async def test_a_pod_calls_a_service_by_name_and_the_host_by_address(
    cluster: Cluster, namespace: str
) -> None:
    client = objects.pod("client", serviceAccountName="client")
    await cluster.apply(
        objects.service_account("client"),
        objects.deployment("web", replicas=2),
        objects.service("web"),
        client,
        namespace=namespace,
    )
    await cluster.ready(namespace, "deploy/web", "pod/client")

    async def both() -> bool:
        names = {await call() for _ in range(8)}
        return len(names) == 2

    async def call() -> str:
        said = await cluster.exec(
            namespace,
            "client",
            "curl",
            "-sf",
            "--max-time",
            "3",
            f"http://web.{namespace}.svc.cluster.local/",
        )
        answer: str = json.loads(said)["pod"]
        return answer

    await cluster.eventually(both, "answers of both pods")
    token = await cluster.run("--namespace", namespace, "create", "token", "client", "--audience=meshwright")
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token.strip(), "audiences": ["meshwright"]},
    }
    answer = json.loads(
        await cluster.run("create", "--filename=-", "--output=json", stdin=json.dumps(review))
    )
    assert answer["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:client"


async def test_restricted_namespaces_refuse_what_has_privileges(cluster: Cluster, namespace: str) -> None:
    privileged = objects.container(securityContext={"privileged": True})
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        await cluster.apply(objects.pod("root", privileged), namespace=namespace)
