"""Documents from a cluster of their own: kinds that are not installed, that go away, many objects at once, an API server that restarts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from discovery.file import FileSource
from discovery.source import SourceFailed, SourceRecovered
from kube.access import ClusterOptions
from kube.client import Cluster as Client
from kube.resource import Resource
from mesh.events import Declared, SourceSnapshot, SourceUpdate
from mesh.names import Key
from store.kubernetes_sets import ClusterDocuments
from tests.support.kubernetes import api_server
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.definitions import a_policy, install, uninstall
from tests.support.processes import eventually

RETRIES = Resource("meshwright.dev", "v1alpha1", "retrypolicies", "RetryPolicy")
AT_ONCE = 16
PATIENCE = 60.0


TCP_ROUTES = "tcproutes.gateway.networking.k8s.io"


def a_definition_of_tcp_routes(*versions: str) -> dict[str, Any]:
    """The last of `versions` alone is served."""
    schema = {
        "openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": TCP_ROUTES,
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "TCPRoute", "plural": "tcproutes", "singular": "tcproute"},
            "versions": [
                {
                    "name": each,
                    "served": each == versions[-1],
                    "storage": each == versions[-1],
                    "schema": schema,
                }
                for each in versions
            ],
        },
    }


def a_tcp_route(version: str, name: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": f"gateway.networking.k8s.io/{version}",
        "kind": "TCPRoute",
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "rules": [{"backendRefs": [{"name": "db", "port": port}]}],
        },
    }


class Told:
    """What a mesh is told by the source, put together."""

    def __init__(self) -> None:
        self.declared: dict[tuple[str, Key], Declared] = {}
        self.snapshots = 0
        self.failing = ""
        self.at: dict[tuple[str, Key], float] = {}
        self.task: asyncio.Task[None] | None = None

    async def follow(self, documents: ClusterDocuments) -> None:
        async for event in FileSource("cluster", documents, guarded=False).events():
            match event:
                case SourceSnapshot(declared=declared):
                    self.snapshots += 1
                    self.declared = {each.name: each for each in declared}
                case SourceUpdate(declared=declared, removed_declared=removed):
                    for name in removed:
                        self.declared.pop(name, None)
                    for each in declared:
                        self.declared[each.name] = each
                        self.at[each.name] = time.monotonic()
                case SourceFailed(reason=reason):
                    self.failing = reason
                case SourceRecovered():
                    self.failing = ""
                case _:
                    pass

    async def until(self, question: Callable[[], bool], what: str) -> None:
        async def asked() -> bool:
            if self.task is not None and self.task.done():
                self.task.result()
            return question()

        await eventually(asked, f"{what} (failing: {self.failing!r})", patience=PATIENCE)

    async def has(self, name: tuple[str, Key]) -> None:
        await self.until(lambda: name in self.declared, f"{name} is told")


@asynccontextmanager
async def following(alone: Cluster) -> AsyncIterator[tuple[Told, ClusterDocuments, Client]]:
    async with Client(ClusterOptions(kubeconfig=str(alone.kubeconfig)), clock=time.monotonic) as client:
        documents = ClusterDocuments(client, clock=time.monotonic, random=random.random)
        told = Told()
        task = told.task = asyncio.create_task(told.follow(documents))
        try:
            yield told, documents, client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_kinds_that_are_not_installed_are_waited_for(alone: Cluster) -> None:
    await uninstall(alone)
    async with following(alone) as (told, documents, _):
        await told.until(lambda: told.snapshots == 1, "the first snapshot")
        assert told.declared == {}
        assert {"RetryPolicy", "HTTPRoute", "GatewayClass"} <= {*documents.absent}
        await install(alone)
        await alone.apply(a_policy("RetryPolicy", "api", attempts=3), namespace="default")
        await told.has(("RetryPolicy", Key("default", "api")))
        assert "RetryPolicy" not in documents.absent
        assert "HTTPRoute" in documents.absent


async def test_a_kind_that_goes_away_stops_no_other(alone: Cluster) -> None:
    await install(alone)
    async with following(alone) as (told, documents, _client):
        await told.until(lambda: told.snapshots == 1, "the first snapshot")
        await uninstall(alone, "retrypolicies")
        await told.until(lambda: "RetryPolicy" in documents.absent, "it is seen to be gone")
        await told.until(lambda: told.failing == "", "which is no failure")
        await alone.apply(a_policy("TimeoutPolicy", "api", request="1s"), namespace="default")
        await told.has(("TimeoutPolicy", Key("default", "api")))
        await install(alone, "retrypolicies")
        await alone.apply(a_policy("RetryPolicy", "again", attempts=3), namespace="default")
        await told.has(("RetryPolicy", Key("default", "again")))
        assert "RetryPolicy" not in documents.absent


async def test_a_kind_that_is_upgraded_is_followed_in_its_new_version(alone: Cluster) -> None:
    """As TCPRoute was, with the Gateway API: v1alpha2 is served no more, and v1 is."""
    name = ("TCPRoute", Key("default", "db"))
    await alone.apply(a_definition_of_tcp_routes("v1alpha2"))
    await alone.run("wait", "--for=condition=Established", "--timeout=60s", f"crd/{TCP_ROUTES}")
    await alone.apply(a_tcp_route("v1alpha2", "db", 5432), namespace="default")
    async with following(alone) as (told, documents, _client):
        await told.has(name)
        await alone.apply(a_definition_of_tcp_routes("v1alpha2", "v1"))
        await told.until(lambda: told.failing != "", "that its version is gone is seen")
        await told.until(lambda: told.failing == "", "the new one is read")
        resource = documents.resource("TCPRoute")
        assert resource is not None
        assert resource.version == "v1"
        assert name in told.declared
        await alone.apply(a_tcp_route("v1", "again", 5432), namespace="default")
        await told.has(("TCPRoute", Key("default", "again")))
    await alone.delete("crd", TCP_ROUTES)


async def test_an_api_server_that_restarts_takes_nothing_from_the_mesh(alone: Cluster) -> None:
    await install(alone)
    await alone.apply(a_policy("RetryPolicy", "kept", attempts=3), namespace="default")
    name = ("RetryPolicy", Key("default", "kept"))
    async with following(alone) as (told, _, _client):
        await told.has(name)
        await api_server.stop(alone)
        try:
            await told.until(lambda: bool(told.failing), "the failure is told")
            assert name in told.declared
        finally:
            await api_server.start(alone)
        await told.until(lambda: told.failing == "", "the recovery is told")
        assert name in told.declared
        await alone.apply(a_policy("RetryPolicy", "after", attempts=3), namespace="default")
        await told.has(("RetryPolicy", Key("default", "after")))
        assert told.snapshots == 1


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.heavy)])
async def test_many_objects_come_in_one_go(alone: Cluster, count: int) -> None:
    await install(alone, "retrypolicies")
    limit = asyncio.Semaphore(AT_ONCE)
    async with alone.namespace("3-many") as namespace:
        async with Client(ClusterOptions(kubeconfig=str(alone.kubeconfig)), clock=time.monotonic) as client:

            async def make(number: int) -> None:
                async with limit:
                    made = a_policy("RetryPolicy", f"r-{number}", attempts=3)
                    made["metadata"]["namespace"] = namespace
                    await client.create(RETRIES, made, namespace)

            await asyncio.gather(*(make(number) for number in range(count)))
        began = time.monotonic()
        async with following(alone) as (told, _, client):
            await told.until(lambda: told.snapshots == 1, "the first snapshot")
            first = time.monotonic() - began
            assert sum(key.namespace == namespace for _, key in told.declared) == count
            took = []
            for number in range(10):
                name = ("RetryPolicy", Key(namespace, f"r-{number}"))
                before = time.monotonic()
                patch = {"spec": {"attempts": 4}}
                await client.patch(RETRIES, name[1].name, patch, namespace)
                await told.until(lambda at=before, of=name: told.at.get(of, 0.0) > at, "the change is told")  # type: ignore[misc]
                took.append(told.at[name] - before)
        print(
            f"{count} objects: {first:.2f} s to the first snapshot; a write is told after {sorted(took)[5] * 1000:.0f} ms (median)"
        )
