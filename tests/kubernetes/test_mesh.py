"""A mesh on a real cluster: installed from its manifests, two workloads injected, called by the names of their Services."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.mesh import API, Mesh, a_mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(installed: Cluster) -> AsyncIterator[Mesh]:
    async with a_mesh(installed, "6-mesh") as made:
        yield made


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
