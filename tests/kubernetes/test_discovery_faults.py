"""An API server that restarts, forgets its history, is slow, or takes rights away: the mesh keeps what it knew, tells, and recovers
without a restart. On a cluster of its own without a node: Services and EndpointSlices need none.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from discovery.supervisor import SourceState
from mesh.names import Key
from tests.support.binaries import ROOT
from tests.support.kubernetes import cluster as clusters
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.discovered import Discovered, a_source, discovering
from tests.support.kubernetes.line import Line, a_line, kubeconfig

NUMBER = 5
ENDPOINTS = 8
RULES = [
    {"apiGroups": [""], "resources": ["services", "pods", "nodes", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    made = clusters.up(NUMBER, node=False)
    yield made
    clusters.down(made)


@pytest.fixture
async def namespace(alone: Cluster) -> AsyncIterator[str]:
    async with alone.namespace("2-faults") as name:
        yield name


@pytest.fixture
async def line(alone: Cluster) -> AsyncIterator[Line]:
    async with a_line(alone) as made:
        yield made


def api_server(command: str) -> None:
    environment = {**os.environ, "N": str(NUMBER), "NO_NODE": "1"}
    subprocess.run(
        [str(ROOT / "scripts" / "kubernetes" / "apiserver.sh"), command],
        check=True,
        env=environment,
        capture_output=True,
    )


async def restart_forgetful(alone: Cluster) -> None:
    """The API server starts anew over an etcd that has compacted all history."""
    await asyncio.to_thread(api_server, "stop")
    inside = ["nsenter", f"--net=/run/netns/hk8s{NUMBER}", "curl", "-sf", "--noproxy", "*", "-d"]
    url = "http://127.0.0.1:2379/v3/kv/"
    # `L2hlYWx0aA==` is a key that is not there: only the revision in the answer's header is wanted.
    asked = await asyncio.to_thread(
        subprocess.run,
        [*inside, '{"key":"L2hlYWx0aA=="}', f"{url}range"],
        check=True,
        capture_output=True,
        text=True,
    )
    revision = asked.stdout.split('"revision":"')[1].split('"')[0]
    await asyncio.to_thread(
        subprocess.run,
        [*inside, f'{{"revision":"{revision}","physical":true}}', f"{url}compaction"],
        check=True,
    )
    await asyncio.to_thread(api_server, "start")
    await ready(alone)


async def ready(alone: Cluster) -> None:
    await alone.eventually(lambda: alone.run("get", "--raw", "/readyz"), "the API server is ready")


def a_slice(namespace: str, *addresses: str, name: str = "web-1") -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }


def addresses(count: int, first: int = 1) -> list[str]:
    return [f"192.0.2.{n}" for n in range(first, first + count)]


async def a_shop(alone: Cluster, namespace: str) -> Key:
    """A Service `web` with endpoints."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"ports": [{"name": "http", "port": 80, "appProtocol": "http"}]},
    }
    await alone.apply(service, a_slice(namespace, *addresses(ENDPOINTS)))
    return Key(namespace, "web")


async def known(seen: Discovered, web: Key, count: int = ENDPOINTS) -> None:
    await seen.until(lambda: len(seen.live(web)) == count, f"{count} endpoints")


def holds(seen: Discovered) -> set[Key]:
    """Services whose endpoints are held. Namespaces of other tests, which end meanwhile, may be among them."""
    return {each.service for each in seen.status().holds}


async def test_a_slow_api_server(alone: Cluster, namespace: str, line: Line, tmp_path: Path) -> None:
    """Slower than we wait for an answer: told, and tried again until it is quick enough."""
    web = await a_shop(alone, namespace)
    config = await kubeconfig(alone, line, tmp_path / "config")
    line.delay = 3.0
    async with discovering(a_source(config, timeout=1.0), ready=False) as seen:
        await seen.until(lambda: "in time" in (seen.status().last_error or ""), "it is told")
        line.delay = 0.0
        await known(seen, web)
        await seen.until(lambda: seen.status().state is SourceState.LIVE, "it recovers")
        # Slow but alive: each piece of what it says comes late, and nothing is lost or doubted.
        line.delay = 0.3
        await alone.apply(a_slice(namespace, *addresses(ENDPOINTS + 1)))
        await known(seen, web, ENDPOINTS + 1)
        assert seen.status().state is SourceState.LIVE


async def test_rights_that_are_taken_away_and_given_back(
    alone: Cluster, namespace: str, line: Line, tmp_path: Path
) -> None:
    web = await a_shop(alone, namespace)
    name = f"{namespace}-reader"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": RULES,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    await alone.apply(role, binding)
    token = (await alone.run("-n", namespace, "create", "token", "default")).strip()
    config = await kubeconfig(alone, line, tmp_path / "config", token)
    try:
        async with discovering(a_source(config)) as seen:
            await known(seen, web)
            seen.watch(web)
            await alone.delete("clusterrolebinding", name)
            # A watch that is open goes on; the next one is refused.
            line.cut()
            line.mend()
            await seen.until(lambda: "403" in (seen.status().last_error or ""), "it is told")
            error = seen.status().last_error or ""
            assert "grant {apiGroups:" in error
            assert token not in error
            assert seen.status().state is SourceState.FAILED
            await alone.apply(a_slice(namespace, *addresses(ENDPOINTS + 1)))
            await alone.apply(binding)
            await known(seen, web, ENDPOINTS + 1)
            await seen.until(lambda: seen.status().state is SourceState.LIVE, "it recovers")
            assert seen.smallest[web] == ENDPOINTS
    finally:
        await alone.delete("clusterrolebinding", name)
        await alone.delete("clusterrole", name)


async def test_an_api_server_that_restarts(
    alone: Cluster, namespace: str, line: Line, tmp_path: Path
) -> None:
    web = await a_shop(alone, namespace)
    config = await kubeconfig(alone, line, tmp_path / "config")
    async with discovering(a_source(config)) as seen:
        await known(seen, web)
        seen.watch(web)
        await asyncio.to_thread(api_server, "stop")
        await seen.until(lambda: seen.status().state is SourceState.FAILED, "it is told")
        assert "cannot be reached" in (seen.status().last_error or "")
        assert len(seen.live(web)) == ENDPOINTS
        await asyncio.to_thread(api_server, "start")
        await ready(alone)
        await seen.until(lambda: seen.status().state is SourceState.LIVE, "it recovers")
        await alone.apply(a_slice(namespace, *addresses(ENDPOINTS + 1)))
        await known(seen, web, ENDPOINTS + 1)
        assert seen.smallest[web] == ENDPOINTS, "nothing was forgotten meanwhile"


async def test_history_that_is_compacted(alone: Cluster, namespace: str, line: Line, tmp_path: Path) -> None:
    web = await a_shop(alone, namespace)
    config = await kubeconfig(alone, line, tmp_path / "config")
    async with discovering(a_source(config)) as seen:
        await known(seen, web)
        seen.watch(web)
        line.cut()
        # One came and three went while nobody could hear of it.
        await alone.apply(a_slice(namespace, *addresses(ENDPOINTS - 2, first=4)))
        await restart_forgetful(alone)
        assert len(seen.live(web)) == ENDPOINTS
        line.mend()
        await seen.until(lambda: seen.status().state is SourceState.LIVE, "it recovers")
        expected = {f"web.192-0-2-{n}" for n in range(4, ENDPOINTS + 2)}
        await seen.until(lambda: seen.live(web) == expected, "what has changed is known")
        assert seen.smallest[web] == ENDPOINTS - 2, "it was never less than what is left"
        assert web not in holds(seen)


async def test_a_list_that_lacks_nearly_all_is_held(
    alone: Cluster, namespace: str, line: Line, tmp_path: Path
) -> None:
    """History was lost, and with it nobody has said of each endpoint that it is gone: the guard asks for patience."""
    web = await a_shop(alone, namespace)
    config = await kubeconfig(alone, line, tmp_path / "config")
    async with discovering(a_source(config)) as seen:
        await known(seen, web)
        line.cut()
        await alone.delete("endpointslice", "web-1", namespace)
        await restart_forgetful(alone)
        line.mend()
        await seen.until(lambda: web in holds(seen), "it is held")
        assert len(seen.live(web)) == ENDPOINTS
        # An answer that a watch gives is believed again.
        await alone.apply(a_slice(namespace, *addresses(ENDPOINTS)))
        await seen.until(lambda: web not in holds(seen), "they came back")
        await alone.delete("endpointslice", "web-1", namespace)
        await seen.until(lambda: not seen.live(web), "all are gone, each by its own word")
