"""Service account tokens of a real cluster as proofs: what its API server, and what its keys, make of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from ca.errors import NotProved, ProvedAnother
from ca.proof import Proof
from ca.times import system_clock
from kube.access import ClusterOptions
from kube.client import Cluster as Client
from mesh.names import Key
from meshwright.kubernetes.tokens import token_proof
from meshwright.settings_kubernetes import KubernetesSettings
from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class World:
    """A pod `api` with the service account `api`; by what its tokens are judged: `review` and `keys`."""

    cluster: Cluster
    namespace: str

    @property
    def api(self) -> Key:
        return Key(self.namespace, "api")

    async def token(self, pod: str | None = "api", account: str = "api", audience: str = "meshwright") -> str:
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}") if pod else ()
        made = await self.cluster.run(
            "-n", self.namespace, "create", "token", account, f"--audience={audience}", *bound
        )
        return made.strip()

    @asynccontextmanager
    async def proof(self, by: str) -> AsyncIterator[Proof]:
        settings = KubernetesSettings.model_validate({"tokens": by})
        options = ClusterOptions(kubeconfig=str(self.cluster.kubeconfig))
        async with Client(options, clock=time.monotonic) as client:
            yield token_proof({"kubernetes": client}, settings, system_clock, time.monotonic)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(cluster: Cluster) -> AsyncIterator[World]:
    async with cluster.namespace("4-identity") as namespace:
        await cluster.apply(
            objects.service_account("api"),
            objects.pod("api", serviceAccountName="api"),
            objects.pod("gone", serviceAccountName="api"),
            namespace=namespace,
        )
        await cluster.ready(namespace, "pod/api", "pod/gone")
        yield World(cluster, namespace)


@pytest.mark.parametrize("by", ["review", "keys"])
async def test_a_pods_token_proves_the_pod_and_its_service_account(world: World, by: str) -> None:
    token = await world.token()
    async with world.proof(by) as proof:
        for shown in (token, f"kubernetes:{token}"):
            claim = await proof.verify(shown, world.api, "")
            assert (claim.workload, claim.service_account, claim.names_workload) == (world.api, "api", True)
            assert token not in claim.by


@pytest.mark.parametrize("by", ["review", "keys"])
async def test_what_a_token_does_not_prove(world: World, by: str) -> None:
    async with world.proof(by) as proof:
        with pytest.raises(ProvedAnother):
            await proof.verify(await world.token(), Key(world.namespace, "gone"), "")
        with pytest.raises(ProvedAnother):
            await proof.verify(await world.token(), Key("default", "api"), "")
        with pytest.raises(NotProved, match="audience"):
            await proof.verify(await world.token(audience="somebody-else"), world.api, "")
        with pytest.raises((NotProved, ProvedAnother)):
            await proof.verify(await world.token(pod=None), world.api, "")
        head, _, tail = (await world.token()).rpartition(".")
        with pytest.raises(NotProved):
            await proof.verify(f"{head}.{tail[::-1]}", world.api, "")
        with pytest.raises(NotProved, match="no cluster 'other'"):
            await proof.verify(f"other:{await world.token()}", world.api, "")


async def test_the_token_of_a_pod_that_is_gone_proves_nothing_to_whoever_asks(world: World) -> None:
    gone = Key(world.namespace, "gone")
    token = await world.token(pod="gone")
    async with world.proof("review") as proof, world.proof("keys") as keys:
        await world.cluster.delete("pod", "gone", world.namespace)
        async with asyncio.timeout(60):
            while True:
                # Of what an API server has seen a moment ago it may still be sure.
                async with world.proof("review") as anew:
                    try:
                        await anew.verify(token, gone, "")
                    except NotProved:
                        break
                await asyncio.sleep(0.2)
        with pytest.raises(NotProved, match="still there"):
            await proof.verify(token, gone, "")
        # This is what `tokens: keys` costs.
        assert (await keys.verify(token, gone, "")).service_account == "api"
