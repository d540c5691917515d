"""What documents in a cluster were before: kept beside them, brought back by kubectl, gone with them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from kube.access import ClusterOptions
from kube.client import Cluster as Client
from meshwright.kubernetes.history import History
from store.kubernetes_sets import ClusterDocuments
from tests.support.kubernetes.cluster import Cluster

RETRY = """
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {{name: api}}
spec: {{targetRefs: [{{kind: Service, name: api}}], attempts: {attempts}}}
"""


@asynccontextmanager
async def keeping(cluster: Cluster) -> AsyncIterator[None]:
    """A history of two revisions, kept by this process."""
    async with Client(ClusterOptions(kubeconfig=str(cluster.kubeconfig)), clock=time.monotonic) as client:
        documents = ClusterDocuments(client, clock=time.monotonic, random=random.random)
        history = History(client, lambda: documents.held, 2, clock=time.monotonic, random=random.random)

        async def follow() -> None:
            async with aclosing(documents.watch()) as sets:
                async for _ in sets:
                    pass

        tasks = [asyncio.create_task(follow()), asyncio.create_task(history.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def revisions(cluster: Cluster, namespace: str) -> dict[int, dict[str, Any]]:
    found = await cluster.objects("controllerrevisions", namespace)
    return {each["revision"]: each for each in found}


async def until(cluster: Cluster, namespace: str, *numbers: int) -> dict[int, dict[str, Any]]:
    async def look() -> dict[int, dict[str, Any]] | None:
        found = await revisions(cluster, namespace)
        return found if sorted(found) == sorted(numbers) else None

    if not numbers:
        await cluster.eventually(lambda: _gone(cluster, namespace), "the revisions are gone")
        return {}
    return await cluster.eventually(look, f"the revisions are {numbers}")


async def _gone(cluster: Cluster, namespace: str) -> bool:
    return not await revisions(cluster, namespace)


async def test_revisions_come_go_and_are_brought_back(cluster: Cluster) -> None:
    async with cluster.namespace("3-history") as namespace, keeping(cluster):
        await cluster.apply(RETRY.format(attempts=1), namespace=namespace)
        first = (await until(cluster, namespace, 1))[1]
        assert first["metadata"]["annotations"]["meshwright.dev/written-by"] == "kubectl"
        await cluster.apply(RETRY.format(attempts=2), namespace=namespace)
        await until(cluster, namespace, 1, 2)
        data = (await revisions(cluster, namespace))[1]["data"]
        await cluster.apply(json.dumps(data), namespace=namespace)
        await until(cluster, namespace, 2, 3)
        retry = await cluster.get("retry", "api", namespace)
        assert retry["spec"]["attempts"] == 1
        await cluster.delete("retry", "api", namespace)
        await until(cluster, namespace)
