"""Documents from a cluster: what kubectl applies becomes a set of documents, and a source's events."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from documents.sets import DocumentSet
from kube.access import ClusterOptions
from kube.client import Cluster as Client
from mesh.names import Key
from mesh.routes import Route
from store.kubernetes_sets import ClusterDocuments
from tests.support.kubernetes.cluster import Cluster

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, labels: {{n: "{n}"}}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: api}}]
  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]
"""


@asynccontextmanager
async def documents_of(cluster: Cluster) -> AsyncIterator[ClusterDocuments]:
    async with Client(ClusterOptions(kubeconfig=str(cluster.kubeconfig)), clock=time.monotonic) as client:
        yield ClusterDocuments(client, clock=time.monotonic, random=random.random)


class Follower:
    """Reads sets until one is as it should be."""

    def __init__(self, documents: ClusterDocuments) -> None:
        self._documents = documents
        self.latest = DocumentSet()

    async def until(self, sets: AsyncIterator[DocumentSet], key: Key, *backends: str) -> Route | None:
        """The HTTPRoute `key` once it leads to `backends`; None once it is gone, for none."""
        async with asyncio.timeout(60):
            async for self.latest in sets:
                found = self.latest.index.get(("HTTPRoute", key))
                value = found.value if found is not None else None
                if isinstance(value, Route):
                    if tuple(each.key.name for each in value.backends()) == backends:
                        return value
                elif not backends:
                    return None
        raise AssertionError("the sets ended")


async def test_what_kubectl_applies_is_followed(cluster: Cluster) -> None:
    async with cluster.namespace("3-documents") as namespace, documents_of(cluster) as documents:
        key = Key(namespace, "api")
        await cluster.apply(ROUTE.format(name="api", n=1, backend="one"), namespace=namespace)
        follower = Follower(documents)
        async with aclosing(documents.watch()) as sets:
            route = await follower.until(sets, key, "one")
            assert route is not None
            assert route.origin == (f"cluster#1 HTTPRoute {key}",)
            assert route.created is not None
            assert documents.resource("HTTPRoute") is not None

            await cluster.apply(ROUTE.format(name="api", n=2, backend="two"), namespace=namespace)
            changed = await follower.until(sets, key, "two")
            assert changed is not None
            assert changed.origin == (f"cluster#2 HTTPRoute {key}",)

            await cluster.delete("httproute", "api", namespace)
            assert await follower.until(sets, key) is None


async def test_a_wrong_object_stops_no_other(cluster: Cluster) -> None:
    async with cluster.namespace("3-documents") as namespace, documents_of(cluster) as documents:
        extension = (
            "filters: [{type: ExtensionRef, extensionRef: {group: example.com, kind: Thing, name: a}}]"
        )
        wrong = ROUTE.format(name="wrong", n=1, backend="one").replace(
            "rules: [{", f"rules: [{{{extension}, "
        )
        await cluster.apply(wrong, ROUTE.format(name="right", n=1, backend="one"), namespace=namespace)
        follower = Follower(documents)
        async with aclosing(documents.watch()) as sets:
            await follower.until(sets, Key(namespace, "right"), "one")
            # What was handed over is `held` once the next set is asked for.
            await cluster.apply(ROUTE.format(name="right", n=2, backend="two"), namespace=namespace)
            await follower.until(sets, Key(namespace, "right"), "two")
            refusal = documents.held.refusal(("HTTPRoute", Key(namespace, "wrong")))
            assert refusal.startswith("spec.rules[0].filters[0].extensionRef: "), refusal
            assert ("HTTPRoute", Key(namespace, "wrong")) in documents.held.refused()


async def test_gateways_of_other_classes_are_not_ours(cluster: Cluster) -> None:
    gateway_class = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: {name}}}
spec: {{controllerName: {controller}}}
"""
    gateway = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: {name}, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
"""
    async with cluster.namespace("3-documents") as namespace, documents_of(cluster) as documents:
        ours, others = f"{namespace}-ours", f"{namespace}-others"
        try:
            await cluster.apply(
                gateway_class.format(name=ours, controller="meshwright.dev/gateway-controller"),
                gateway_class.format(name=others, controller="example.com/gateway-controller"),
            )
            await cluster.apply(gateway.format(name=ours), gateway.format(name=others), namespace=namespace)
            async with aclosing(documents.watch()) as sets:
                found = await anext(sets)
                assert ("Gateway", Key(namespace, ours)) in found.index
                assert ("Gateway", Key(namespace, others)) not in found.index
        finally:
            await cluster.delete("gatewayclass", ours)
            await cluster.delete("gatewayclass", others)
