"""The definitions of our kinds in a cluster of a test's own, and short objects of them."""

from __future__ import annotations

from typing import Any

from meshwright.kubernetes.crds import crds
from tests.support.kubernetes.cluster import Cluster


async def install(cluster: Cluster, *plurals: str) -> None:
    """All of them, or some: until the API server takes objects of them."""
    chosen = _chosen(plurals)
    await cluster.apply(*chosen)
    which = [f"crd/{each['metadata']['name']}" for each in chosen]
    await cluster.run("wait", "--for=condition=Established", "--timeout=60s", *which)


async def uninstall(cluster: Cluster, *plurals: str) -> None:
    """With all objects of them."""
    for each in _chosen(plurals):
        await cluster.delete("crd", each["metadata"]["name"])


def a_policy(kind: str, name: str, **said: Any) -> dict[str, Any]:
    """For the Service `api` of its namespace."""
    return {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"targetRefs": [{"kind": "Service", "name": "api"}], **said},
    }


def _chosen(plurals: tuple[str, ...]) -> list[dict[str, Any]]:
    return [each for each in crds() if not plurals or each["spec"]["names"]["plural"] in plurals]
