"""A mesh on a real cluster: installed from its manifests, two workloads injected, called by the names of their Services."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.installed import INJECTED

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "http://api"


@dataclass(frozen=True, slots=True)
class Mesh:
    """`web` and `api` have sidecars and service accounts of their names, in `namespace`; `stranger`, in `outside`, has none."""

    cluster: Cluster
    namespace: str
    outside: str

    async def get(self, url: str, *curl: str, by: str = "deploy/web") -> dict[str, Any]:
        """What the echo service says that it got; KubectlError if curl gets no answer, or one over 399."""
        command = ("curl", "-sS", "--fail-with-body", "-m", "10", *curl, url)
        answer: dict[str, Any] = json.loads(
            await self.cluster.exec(self.namespace, by, *command, container="app")
        )
        return answer

    async def status(self, url: str, *curl: str, by: str = "deploy/web") -> int:
        """The status of the answer; 0 if there is none."""
        command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", *curl, url)
        try:
            return int(await self.cluster.exec(self.namespace, by, *command, container="app"))
        except KubectlError:
            return 0

    async def stranger(self, url: str) -> int:
        """The status that one without a sidecar gets; 0 if there is no answer."""
        command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", url)
        try:
            return int(await self.cluster.exec(self.outside, "stranger", *command))
        except KubectlError:
            return 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(installed: Cluster) -> AsyncIterator[Mesh]:
    cluster = installed
    async with cluster.namespace("6-mesh", INJECTED) as inside, cluster.namespace("6-outside") as outside:
        await cluster.apply(
            objects.service_account("web"),
            objects.service_account("api"),
            objects.deployment("web", objects.container(), account="web"),
            objects.deployment("api", account="api"),
            objects.service("api"),
            namespace=inside,
        )
        await cluster.apply(objects.pod("stranger"), namespace=outside)
        await cluster.ready(inside, "deploy/web", "deploy/api", patience=240)
        await cluster.ready(outside, "pod/stranger")
        yield Mesh(cluster, inside, outside)


async def test_a_call_by_the_services_name_is_mutual_tls(mesh: Mesh) -> None:
    """Nobody told the applications: the caller's identity is that of its service account, by a certificate that the callee's sidecar verified."""
    for url in (API, f"{API}.{mesh.namespace}", f"{API}.{mesh.namespace}.svc.cluster.local"):
        said = await mesh.get(url)
        certificate = said["headers"]["x-forwarded-client-cert"]
        assert f"URI=spiffe://mesh.local/ns/{mesh.namespace}/sa/web" in certificate
        assert f"By=spiffe://mesh.local/ns/{mesh.namespace}/sa/api" in certificate


async def test_strict_refuses_a_pod_without_a_sidecar(mesh: Mesh) -> None:
    assert await mesh.stranger(f"{API}.{mesh.namespace}") == 0
    addresses = await mesh.cluster.run(
        "-n", mesh.namespace, "get", "pods", "-l", "app=api", "-o", "jsonpath={.items[*].status.podIP}"
    )
    for each in addresses.split():
        assert await mesh.stranger(f"http://{each}:8080") == 0
