"""The authority's Secret under hands that delete or replace it, and whom the cluster trusts while an installation is taken apart.

On an API server alone: what replicas do is run here, with nothing of it replaced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ca.errors import DamagedAuthority
from ca.shared import Making
from inject.names import BUNDLE_CONFIG_MAP, BUNDLE_KEY
from kube.access import ClusterOptions
from kube.client import Cluster as Api
from kube.resource import CONFIG_MAPS, MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS
from meshwright.kubernetes.authority import SecretAuthority
from meshwright.kubernetes.bundles import BundleKeeper, config_map
from meshwright.kubernetes.concerns import AUTHORITY, WEBHOOKS, Concerns
from meshwright.kubernetes.install.options import AUTHORITY_SECRET
from tests.support.kubernetes.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Replica:
    """A control plane's share in the authority."""

    authority: SecretAuthority
    concerns: Concerns

    @property
    def roots(self) -> bytes:
        return self.authority.files.roots.read_bytes()


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace with a mesh's authority in it."""

    cluster: Cluster
    api: Api
    namespace: str

    def replica(self, directory: Path) -> Replica:
        concerns = Concerns()
        making = Making("mesh.local", timedelta(hours=25))
        authority = SecretAuthority(
            self.api, self.namespace, AUTHORITY_SECRET, directory, making, lambda: datetime.now(UTC), concerns
        )
        return Replica(authority, concerns)

    async def run(self, *arguments: str) -> str:
        return await self.cluster.run("-n", self.namespace, *arguments)

    async def delete(self) -> None:
        await self.run("delete", "secret", AUTHORITY_SECRET)

    async def trust(self, pem: bytes) -> None:
        """As the replica that tells the namespaces does."""
        await self.api.apply(CONFIG_MAPS, config_map(self.namespace, pem.decode(), None))

    async def uid(self) -> str:
        found: dict[str, Any] = await self.cluster.get("secret", AUTHORITY_SECRET, self.namespace)
        return str(found["metadata"]["uid"])


@pytest.fixture
async def place(alone: Cluster) -> AsyncIterator[Place]:
    namespace = f"mesh-{uuid4().hex[:8]}"
    await alone.run("create", "namespace", namespace)
    async with Api(ClusterOptions(kubeconfig=str(alone.kubeconfig)), clock=time.monotonic) as api:
        yield Place(alone, api, namespace)


@asynccontextmanager
async def running(*works: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(each)) for each in works]
        yield
        for each in tasks:
            each.cancel()


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def test_a_deleted_secret_is_put_back_whole(place: Place, tmp_path: Path) -> None:
    one, other = place.replica(tmp_path / "one"), place.replica(tmp_path / "other")
    await one.authority.open()
    await other.authority.open()
    before = await place.cluster.get("secret", AUTHORITY_SECRET, place.namespace)
    await place.delete()
    told: list[object] = []
    async with running(other.authority.follow):

        async def is_told() -> bool:
            return f"Secret {place.namespace}/{AUTHORITY_SECRET} is gone" in other.concerns.current.get(
                AUTHORITY, ""
            )

        await place.cluster.eventually(is_told, "who follows it says that it is gone")
        async with running(lambda: one.authority.keep(lambda _, fields: told.append(dict(fields)))):

            async def mended() -> bool:
                return not other.concerns.current

            await place.cluster.eventually(mended, "it is there again")
    after = await place.cluster.get("secret", AUTHORITY_SECRET, place.namespace)
    assert after["data"] == before["data"]
    assert told == [{"stage": "stable", "put_back": True, "roots": 1}]


async def test_where_a_mesh_is_no_authority_is_made_anew(place: Place, tmp_path: Path) -> None:
    one = place.replica(tmp_path / "one")
    await one.authority.open()
    roots = one.roots
    await place.trust(roots)
    await place.delete()
    with pytest.raises(DamagedAuthority, match=r"restore it from your backup.*To begin a mesh anew"):
        await place.replica(tmp_path / "fresh").authority.open()
    # The container of a pod that has its copy still: it goes on, and says so.
    again = place.replica(tmp_path / "one")
    await again.authority.open()
    assert again.roots == roots
    assert "this pod's copy of it is used" in again.concerns.current[AUTHORITY]
    # The way out that the message names.
    await place.run("delete", "configmap", BUNDLE_CONFIG_MAP)
    anew = place.replica(tmp_path / "anew")
    await anew.authority.open()
    assert anew.roots != roots


async def test_the_root_of_another_mesh_is_not_taken(place: Place, tmp_path: Path) -> None:
    one = place.replica(tmp_path / "one")
    await one.authority.open()
    roots = one.roots
    await place.trust(roots)
    await place.delete()
    stranger = Place(place.cluster, place.api, "default").replica(tmp_path / "stranger")
    await stranger.authority.open()
    foreign = await place.cluster.get("secret", AUTHORITY_SECRET, "default")
    await place.cluster.run("-n", "default", "delete", "secret", AUTHORITY_SECRET)
    assert stranger.roots != roots
    metadata = {"name": AUTHORITY_SECRET, "namespace": place.namespace}
    await place.cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": foreign["data"]}
    )
    async with running(one.authority.follow, lambda: one.authority.keep(lambda *_: None)):

        async def is_told() -> bool:
            return "has none of the roots that the mesh trusts" in one.concerns.current.get(AUTHORITY, "")

        await place.cluster.eventually(is_told, "it is refused, with the way out")
    assert one.roots == roots
    with pytest.raises(DamagedAuthority, match="none of the roots that the mesh trusts"):
        await place.replica(tmp_path / "fresh").authority.open()


async def test_webhooks_that_are_gone_are_told_and_bundles_are_not_left_behind(
    place: Place, tmp_path: Path
) -> None:
    name = place.namespace
    one = place.replica(tmp_path / "one")
    await one.authority.open()
    for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
        await place.api.apply(resource, {"metadata": {"name": name}, "webhooks": []})
    concerns = Concerns()
    keeper = BundleKeeper(
        place.api, name, lambda: one.roots, concerns, clock=time.monotonic, random=lambda: 0.5
    )
    async with running(keeper.run):

        async def written() -> bool:
            found = await place.cluster.get("configmap", BUNDLE_CONFIG_MAP, name)
            return bool(found["data"][BUNDLE_KEY].encode() == one.roots)

        await place.cluster.eventually(written, "the namespace knows whom to trust")
        assert not concerns.current
        await place.cluster.run("delete", "mutatingwebhookconfiguration", name)

        async def is_told() -> bool:
            return "pods that start get no sidecar" in concerns.current.get(WEBHOOKS, "")

        await place.cluster.eventually(is_told, "it is told that the webhook is gone")

        # The garbage collector takes the ConfigMap with its owner, and nobody writes another.
        async def gone() -> bool:
            return BUNDLE_CONFIG_MAP not in await place.run("get", "configmaps", "-o", "name")

        await place.cluster.eventually(gone, "the ConfigMap goes with its owner")
        await place.api.apply(MUTATING_WEBHOOKS, {"metadata": {"name": name}, "webhooks": []})
        await place.cluster.eventually(written, "an installation that is back is served")
        assert not concerns.current
