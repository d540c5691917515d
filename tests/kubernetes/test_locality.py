"""A sidecar knows the zone of the node that its pod is on, which no pod can read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.installed import INJECTED
from tests.support.kubernetes.sidecars import of_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def labelled(installed: Cluster) -> AsyncIterator[Cluster]:
    """Its node is in a zone."""
    await installed.run("label", "node", "--all", f"{REGION}=eu", f"{ZONE}=eu-a", "--overwrite")
    try:
        yield installed
    finally:
        await installed.run("label", "node", "--all", f"{REGION}-", f"{ZONE}-")


async def test_envoy_is_where_its_node_is(labelled: Cluster) -> None:
    async with labelled.namespace("3-locality", INJECTED) as namespace:
        await labelled.apply(
            objects.deployment("web", objects.container(), replicas=3),
            objects.service("web"),
            namespace=namespace,
        )
        await labelled.ready(namespace, "deploy/web", patience=240)
        pods = await labelled.objects("pods", namespace, "app=web")
        assert len(pods) == 3
        for each in pods:
            said = await of_envoy(labelled, namespace, each["metadata"]["name"], "/server_info")
            there = json.loads(said)["node"]["locality"]
            assert (there["region"], there["zone"]) == ("eu", "eu-a")
