"""Kubernetes as a source, with the supervisor and the guard as in the program, and the state of the mesh that comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from discovery.kubernetes import KubernetesSource
from discovery.source import Source
from discovery.supervisor import Discovery, SourceStatus
from kube.access import ClusterOptions
from kube.client import Cluster
from mesh.events import DocumentName, Event
from mesh.names import Key
from mesh.state import MeshState
from tests.support.processes import eventually

PATIENCE = 90.0


def a_source(
    kubeconfig: Path, *namespaces: str, name: str = "kubernetes", timeout: float = 30.0
) -> KubernetesSource:
    options = ClusterOptions(name=name, kubeconfig=str(kubeconfig), timeout=timeout)
    return KubernetesSource(
        name,
        lambda: Cluster(options, clock=time.monotonic),
        namespaces=namespaces,
        clock=time.monotonic,
        random=random.random,
    )


@dataclass
class Discovered:
    discovery: Discovery
    state: MeshState
    events: int = 0
    smallest: dict[Key, int] = field(default_factory=dict)
    """The fewest live endpoints that each watched service ever had (see `watch`)."""
    lost: set[DocumentName] = field(default_factory=set)
    """The documents that were to stay (see `keep`) and were out of force for a moment."""
    _kept: set[DocumentName] = field(default_factory=set)

    def apply(self, event: Event) -> None:
        self.events += 1
        self.state, _ = self.state.apply(event)
        for service in self.smallest:
            self.smallest[service] = min(self.smallest[service], len(self.live(service)))
        self.lost |= {each for each in self._kept if self.state.effective_declared(each) is None}

    def live(self, service: Key) -> set[str]:
        """The names of the workloads that are called for it."""
        found = self.state.services.get(service)
        return (
            {each.workload.name for each in self.state.endpoints(service, found.ports[0])} if found else set()
        )

    def watch(self, service: Key) -> None:
        self.smallest[service] = len(self.live(service))

    def keep(self, *names: DocumentName) -> None:
        """These are to stay in force."""
        self._kept |= {*names}

    def status(self, source: str = "kubernetes") -> SourceStatus:
        return next(each for each in self.discovery.status() if each.name == source)

    async def until(self, true: Callable[[], object], what: str) -> None:
        async def asked() -> bool:
            return bool(true())

        try:
            await eventually(asked, what, patience=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.discovery.status()}") from error


@contextlib.asynccontextmanager
async def discovering(
    *sources: Source, ready: bool = True, state: MeshState | None = None
) -> AsyncIterator[Discovered]:
    """`ready`: once all sources have spoken. `state`: what it begins with."""
    made = Discovered(_discovery(sources), state or MeshState("mesh.local"))
    running = asyncio.create_task(made.discovery.run(made.apply))
    try:
        if ready:
            async with asyncio.timeout(PATIENCE):
                await made.discovery.ready.wait()
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _discovery(sources: Sequence[Source]) -> Discovery:
    return Discovery(sources, lastgood=None, clock=time.monotonic, random=random.random)
