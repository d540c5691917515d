"""Kinds whose version goes, by a scripted API server; tests/kubernetes/ has documents of a real one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.access import ClusterOptions
from kube.client import Cluster
from kube.resource import Object
from mesh.names import Key
from policies.registry import KINDS
from store import kubernetes_failures, kubernetes_sets
from store.kubernetes_sets import ClusterDocuments
from tests.support.kubernetes.scripted import Scripted, kubeconfig, scripted
from tests.support.processes import eventually

GROUP = "/apis/gateway.networking.k8s.io"
OLD, NEW = f"{GROUP}/v1alpha2", f"{GROUP}/v1"
ROUTE = ("TCPRoute", Key("shop", "db"))
PATIENCE = 30.0


def a_route(name: str = "db") -> Object:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1", "generation": 1},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "rules": [{"backendRefs": [{"name": "db", "port": 5432}]}],
        },
    }


class Followed:
    def __init__(self, documents: ClusterDocuments) -> None:
        self.documents = documents
        self.failure: str | None = None
        self.sets = 0

    async def follow(self) -> None:
        async for documents in self.documents:
            self.failure = documents.failure
            self.sets += 1

    async def until(self, question: Callable[[], bool]) -> None:
        async def asked() -> bool:
            return question()

        await eventually(asked, f"failing: {self.failure!r}", patience=PATIENCE)


@asynccontextmanager
async def following(server: Scripted, tmp_path: Path) -> AsyncIterator[Followed]:
    options = ClusterOptions(
        kubeconfig=str(kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.port}"))
    )
    kinds = tuple(each for each in KINDS if each.name == "TCPRoute")
    async with Cluster(options, clock=time.monotonic) as cluster:
        seen = Followed(ClusterDocuments(cluster, kinds, clock=time.monotonic, random=random.random))
        task = asyncio.create_task(seen.follow())
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_sets, "LOOK", 0.05)
    monkeypatch.setattr(kubernetes_failures, "PACE", 0.05)


async def test_a_kind_that_is_served_in_another_version_is_followed_there(tmp_path: Path) -> None:
    async with scripted() as server:
        server.has(OLD, "tcproutes")
        server.list_of(f"{OLD}/tcproutes", a_route(), a_route("goes"))
        async with following(server, tmp_path) as seen:
            held = seen.documents
            await seen.until(lambda: ROUTE in held.held.objects)
            # The upgrade of its definition.
            server.has(NEW, "tcproutes")
            server.list_of(f"{NEW}/tcproutes", a_route(), a_route("comes"))
            server.has_not(OLD)
            await seen.until(lambda: ("TCPRoute", Key("shop", "comes")) in held.held.objects)
            assert ROUTE in held.held.objects
            assert ("TCPRoute", Key("shop", "goes")) not in held.held.objects
            resource = held.resource("TCPRoute")
            assert resource is not None
            assert resource.version == "v1", "where statuses are written"
            await seen.until(lambda: not seen.failure)


async def test_a_kind_that_goes_altogether_is_absent_and_not_failing(tmp_path: Path) -> None:
    async with scripted() as server:
        server.has(OLD, "tcproutes")
        async with following(server, tmp_path) as seen:
            await seen.until(lambda: seen.sets > 0)
            server.has_not(OLD)
            await seen.until(lambda: "TCPRoute" in seen.documents.absent)
            await seen.until(lambda: not seen.failure)
            server.has(OLD, "tcproutes")
            server.list_of(f"{OLD}/tcproutes", a_route())
            await seen.until(lambda: ROUTE in seen.documents.held.objects)
            assert "TCPRoute" not in seen.documents.absent


async def test_a_kind_that_goes_without_a_word_of_its_objects_stays_in_force(tmp_path: Path) -> None:
    async with scripted() as server:
        server.has(OLD, "tcproutes")
        server.list_of(f"{OLD}/tcproutes", a_route())
        async with following(server, tmp_path) as seen:
            await seen.until(lambda: ROUTE in seen.documents.held.objects)
            server.has_not(OLD)
            await seen.until(lambda: "1 of them were deleted" in (seen.failure or ""))
            assert ROUTE in seen.documents.held.objects
            server.has(OLD, "tcproutes")
            server.list_of(f"{OLD}/tcproutes", a_route())
            await seen.until(lambda: not seen.failure)
            assert ROUTE in seen.documents.held.objects
