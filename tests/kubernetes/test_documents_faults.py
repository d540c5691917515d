"""The documents of a cluster while its API server forgets its history, is slow, or takes rights away: what was in force stays in force, it
is told, and what has changed meanwhile is taken in without a restart. A restart, and kinds that come and go: test_documents_alone.py.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from discovery.file import FileSource
from discovery.supervisor import SourceState, SourceStatus
from kube.access import ClusterOptions
from kube.client import Cluster as Client
from mesh.names import Key
from store.kubernetes_sets import SOURCE, ClusterDocuments
from tests.support.kubernetes import api_server
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.definitions import a_policy, install
from tests.support.kubernetes.discovered import Discovered, discovering
from tests.support.kubernetes.line import Line, kubeconfig
from tests.support.mesh import Mesh
from tests.support.processes import eventually

RULES = [
    {
        "apiGroups": ["meshwright.dev", "gateway.networking.k8s.io"],
        "resources": ["*"],
        "verbs": ["list", "watch"],
    }
]

SOURCES = (SOURCE, "kubernetes")
LONGEST = 800
"""Characters of an error that somebody reads."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def defined(alone: Cluster) -> Cluster:
    """With our kinds."""
    await install(alone)
    return alone


@pytest.fixture
async def namespace(defined: Cluster) -> AsyncIterator[str]:
    async with defined.namespace("1-documents") as name:
        yield name


@asynccontextmanager
async def documents_of(
    config: Path, *, answers_within: float = 30.0, ready: bool = True
) -> AsyncIterator[Discovered]:
    """As the program has them: a source under the supervisor, and the mesh that it tells."""
    options = ClusterOptions(kubeconfig=str(config), timeout=answers_within)
    async with Client(options, clock=time.monotonic) as client:
        documents = ClusterDocuments(client, clock=time.monotonic, random=random.random)
        async with discovering(FileSource(SOURCE, documents, guarded=False), ready=ready) as seen:
            yield seen


def retries(namespace: str, name: str) -> tuple[str, Key]:
    return "RetryPolicy", Key(namespace, name)


def said(seen: Discovered, namespace: str, name: str = "api") -> Any:
    """How often the RetryPolicy lets try again; None while there is none."""
    found: Any = seen.state.effective_declared(retries(namespace, name))
    return found.fields["attempts"] if found is not None else None


def status(seen: Discovered) -> SourceStatus:
    return seen.status(SOURCE)


async def put(alone: Cluster, namespace: str, name: str, attempts: int) -> None:
    await alone.apply(a_policy("RetryPolicy", name, attempts=attempts), namespace=namespace)


async def test_history_that_is_compacted(alone: Cluster, namespace: str, line: Line, tmp_path: Path) -> None:
    for name in ("api", "stays", "goes"):
        await put(alone, namespace, name, 3)
    config = await kubeconfig(alone, line, tmp_path / "config")
    async with documents_of(config) as seen:
        seen.keep(retries(namespace, "api"), retries(namespace, "stays"))
        line.cut()
        # One has changed, one came and one went while nobody could hear of it.
        await put(alone, namespace, "api", 4)
        await put(alone, namespace, "comes", 5)
        await alone.delete("retrypolicy", "goes", namespace)
        await seen.until(lambda: status(seen).state is SourceState.FAILED, "it is told")
        await api_server.restart_forgetful(alone)
        assert [said(seen, namespace, each) for each in ("api", "goes", "comes")] == [3, 3, None]
        line.mend()
        await seen.until(lambda: status(seen).state is SourceState.LIVE, "it recovers")
        await seen.until(
            lambda: [said(seen, namespace, each) for each in ("api", "goes", "comes")] == [4, None, 5],
            "what has changed is in force",
        )
        assert not seen.lost


async def test_a_slow_api_server(alone: Cluster, namespace: str, line: Line, tmp_path: Path) -> None:
    """Slower than we wait for an answer: told, nobody is answered by half of the documents, and tried again until it is quick enough."""
    await put(alone, namespace, "api", 3)
    config = await kubeconfig(alone, line, tmp_path / "config")
    line.delay = 3.0
    async with documents_of(config, answers_within=1.0, ready=False) as seen:
        await seen.until(lambda: "in time" in (status(seen).last_error or ""), "it is told")
        assert not seen.discovery.ready.is_set()
        line.delay = 0.0
        await seen.until(lambda: said(seen, namespace) == 3, "the documents are in force")
        await seen.until(lambda: status(seen).state is SourceState.LIVE, "it recovers")
        seen.keep(retries(namespace, "api"))
        # Slow but alive: each piece of what it says comes late, and nothing is lost or doubted.
        line.delay = 0.3
        await put(alone, namespace, "api", 4)
        await seen.until(lambda: said(seen, namespace) == 4, "the change is in force")
        assert status(seen).state is SourceState.LIVE
        assert not seen.lost


async def test_rights_that_are_taken_away_and_given_back(
    alone: Cluster, namespace: str, line: Line, tmp_path: Path
) -> None:
    await put(alone, namespace, "api", 3)
    async with api_server.a_reader(alone, namespace, RULES) as reader:
        config = await kubeconfig(alone, line, tmp_path / "config", reader.token)
        async with documents_of(config) as seen:
            assert said(seen, namespace) == 3
            seen.keep(retries(namespace, "api"))
            await reader.forbid()
            line.cut()
            line.mend()
            await seen.until(lambda: "403" in (status(seen).last_error or ""), "it is told")
            error = status(seen).last_error or ""
            assert "other kinds be read" in error, "of all kinds together"
            assert "grant {apiGroups:" in error
            assert reader.token not in error
            assert len(error) < LONGEST
            assert status(seen).state is SourceState.FAILED
            await put(alone, namespace, "api", 4)
            await reader.allow()
            await seen.until(lambda: said(seen, namespace) == 4, "the change is in force")
            await seen.until(lambda: status(seen).state is SourceState.LIVE, "it recovers")
            assert not seen.lost


async def test_the_control_plane_tells_and_goes_on_serving(
    alone: Cluster, namespace: str, line: Line, tmp_path: Path
) -> None:
    """The whole program, of which all watches are refused at once: metric, status and log say so, and it stays ready."""
    await put(alone, namespace, "api", 3)
    async with api_server.a_reader(alone, namespace, [*RULES, *api_server.REGISTRY]) as reader:
        config = await kubeconfig(alone, line, tmp_path / "config", reader.token)
        settings = tmp_path / "settings.yaml"
        settings.write_text(yaml.safe_dump({"kubernetes": {"kubeconfig": str(config)}, "store": "none"}))
        async with Mesh(tmp_path, files=False, config=str(settings)) as mesh:
            process = await mesh.serve()

            async def all_up() -> bool:
                return [await mesh.metric(f'meshwright_source_up{{source="{each}"') for each in SOURCES] == [
                    1,
                    1,
                ]

            async def all_down() -> bool:
                return [await mesh.metric(f'meshwright_source_up{{source="{each}"') for each in SOURCES] == [
                    0,
                    0,
                ]

            await eventually(all_up, "both sources are up", process)
            await reader.forbid()
            line.cut()
            line.mend()
            await eventually(all_down, "the metric tells", process)
            assert await mesh.is_ready()

            async def status_says_it() -> bool:
                found = {each.source: each.error or "" for each in (await mesh.status()).sources}
                return all("grant {apiGroups:" in found[each] for each in SOURCES)

            await eventually(status_says_it, "the status tells, with the way out", process)
            assert "source_failed" in process.text()
            assert reader.token not in process.text()
            await reader.allow()
            await eventually(all_up, "both recover", process)
            assert process.running()
