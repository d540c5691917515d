"""Rolling updates under constant load lose no request: by themselves, with the control plane restarted, with the API server stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.kubernetes import cluster as clusters
from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.installed import INJECTED, SYSTEM
from tests.support.kubernetes.load import Load, load

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

ENDS = "import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
"""The application ends at once when it is told to, as PID 1 would not: what calls it then is lost, unless nobody does."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(installed: Cluster) -> AsyncIterator[str]:
    """A namespace with `api`, of three pods with sidecars."""
    async with installed.namespace("6-rolling", INJECTED) as namespace:
        echo = objects.echo() | {"command": ["python3", "-u", "-c", ENDS + objects.ECHO]}
        # A machine that is busy for some seconds makes nobody unready: what is asked here is what an update does.
        echo["readinessProbe"] |= {"timeoutSeconds": 10, "failureThreshold": 10}
        await installed.apply(
            objects.service_account("api"),
            objects.deployment("api", echo, replicas=3, account="api"),
            objects.service("api"),
            namespace=namespace,
        )
        await installed.ready(namespace, "deploy/api", patience=240)
        yield namespace


async def rolled(cluster: Cluster, namespace: str) -> None:
    """Every pod of `api` is replaced by a new one, and the old ones are gone."""
    before = {each["metadata"]["name"] for each in await cluster.objects("pods", namespace, "app=api")}
    await cluster.run("-n", namespace, "rollout", "restart", "deploy/api")
    await cluster.ready(namespace, "deploy/api", patience=240)

    async def gone() -> bool:
        there = await cluster.objects("pods", namespace, "app=api")
        return not before & {each["metadata"]["name"] for each in there}

    await cluster.eventually(gone, "the pods of before are gone", patience=240)


async def unharmed(running: Load, *, least: int) -> None:
    outcome = await running.so_far()
    if outcome.failures:
        events = await running.cluster.run(
            "-n", running.namespace, "get", "events", "--sort-by=.lastTimestamp"
        )
        raise AssertionError(f"{outcome.failures} of {outcome.answered} failed: {outcome.failed}\n{events}")
    assert outcome.answered >= least


async def go_on(running: Load, requests: int) -> None:
    """Until so many more were answered."""
    begun = (await running.so_far()).answered

    async def answered() -> bool:
        return (await running.so_far()).answered >= begun + requests

    await running.cluster.eventually(answered, f"{requests} more requests")


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.heavy)], ids=["once", "ten times"])
async def test_a_rolling_update_fails_no_request(installed: Cluster, shop: str, times: int) -> None:
    async with load(installed, shop, "api") as running:
        for _ in range(times):
            await rolled(installed, shop)
        await go_on(running, 100)
        await unharmed(running, least=200)
        assert len((await running.so_far()).pods) >= 3 * (times + 1)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.heavy)], ids=["once", "ten times"])
async def test_the_control_plane_restarted_meanwhile(installed: Cluster, shop: str, times: int) -> None:
    async with load(installed, shop, "api") as running:
        for _ in range(times):
            restart = installed.run("-n", SYSTEM, "rollout", "restart", "deploy/meshwright")
            await asyncio.gather(rolled(installed, shop), restart)
            await installed.ready(SYSTEM, "deploy/meshwright", patience=240)
        await go_on(running, 100)
        await unharmed(running, least=200)


@pytest.mark.timeout(3000)  # a minute and a half for each update, of which nothing goes on in the quarter
@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.heavy)], ids=["once", "ten times"])
async def test_the_api_server_stopped_meanwhile(installed: Cluster, shop: str, times: int) -> None:
    """Pods that the kubelet was told to end before it stopped do end; the others stay, and all of it goes on when it is back."""
    async with load(installed, shop, "api") as running:
        for _ in range(times):
            await rolled_with_an_interruption(installed, shop)
        await go_on(running, 100)
        await unharmed(running, least=200)


async def rolled_with_an_interruption(cluster: Cluster, namespace: str) -> None:
    """A rolling update, in the midst of which the API server is away for a quarter of a minute."""
    before = {each["metadata"]["name"] for each in await cluster.objects("pods", namespace, "app=api")}
    await cluster.run("-n", namespace, "rollout", "restart", "deploy/api")

    async def begun() -> bool:
        return any(
            each["metadata"]["name"] in before and "deletionTimestamp" in each["metadata"]
            for each in await cluster.objects("pods", namespace, "app=api")
        )

    await cluster.eventually(begun, "a pod of before is ending", patience=240)
    await asyncio.to_thread(clusters.switch_api_server, cluster, "stop")
    try:
        await asyncio.sleep(15)  # nobody can be asked how far anything is
    finally:
        await asyncio.to_thread(clusters.switch_api_server, cluster, "start")
    await cluster.eventually(lambda: cluster.objects("pods", namespace), "the API server", patience=120)
    await cluster.ready(namespace, "deploy/api", patience=240)
