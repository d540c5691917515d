"""An API server that restarts, forgets its history, is slow, or takes rights away: the mesh keeps what it knew, tells, and recovers
without a restart. On a cluster of its own without a node: Services and EndpointSlices need none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from discovery.supervisor import SourceState
from mesh.names import Key
from tests.support.kubernetes import api_server
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.discovered import Discovered, a_source, discovering
from tests.support.kubernetes.line import Line, kubeconfig

ENDPOINTS = 8


@pytest.fixture
async def namespace(alone: Cluster) -> AsyncIterator[str]:
    async with alone.namespace("2-faults") as name:
        yield name


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
    async with api_server.a_reader(alone, namespace, api_server.REGISTRY) as reader:
        config = await kubeconfig(alone, line, tmp_path / "config", reader.token)
        async with discovering(a_source(config)) as seen:
            await known(seen, web)
            seen.watch(web)
            await reader.forbid()
            # A watch that is open goes on; the next one is refused.
            line.cut()
            line.mend()
            await seen.until(lambda: "403" in (seen.status().last_error or ""), "it is told")
            error = seen.status().last_error or ""
            assert "grant {apiGroups:" in error
            assert reader.token not in error
            assert seen.status().state is SourceState.FAILED
            await alone.apply(a_slice(namespace, *addresses(ENDPOINTS + 1)))
            await reader.allow()
            await known(seen, web, ENDPOINTS + 1)
            await seen.until(lambda: seen.status().state is SourceState.LIVE, "it recovers")
            assert seen.smallest[web] == ENDPOINTS


async def test_an_api_server_that_restarts(
    alone: Cluster, namespace: str, line: Line, tmp_path: Path
) -> None:
    web = await a_shop(alone, namespace)
    config = await kubeconfig(alone, line, tmp_path / "config")
    async with discovering(a_source(config)) as seen:
        await known(seen, web)
        seen.watch(web)
        await api_server.stop(alone)
        await seen.until(lambda: seen.status().state is SourceState.FAILED, "it is told")
        assert "cannot be reached" in (seen.status().last_error or "")
        assert len(seen.live(web)) == ENDPOINTS
        await api_server.start(alone)
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
        await api_server.restart_forgetful(alone)
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
        await api_server.restart_forgetful(alone)
        line.mend()
        await seen.until(lambda: web in holds(seen), "it is held")
        assert len(seen.live(web)) == ENDPOINTS
        # An answer that a watch gives is believed again.
        await alone.apply(a_slice(namespace, *addresses(ENDPOINTS)))
        await seen.until(lambda: web not in holds(seen), "they came back")
        await alone.delete("endpointslice", "web-1", namespace)
        await seen.until(lambda: not seen.live(web), "all are gone, each by its own word")
