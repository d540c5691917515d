"""Two workloads with sidecars and one without, on the test cluster, and what they get when they call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.installed import INJECTED

API: Final = "http://api"


@dataclass(frozen=True, slots=True)
class Mesh:
    """`web` and `api` have sidecars and service accounts of their names, in `namespace`; `stranger`, in `outside`, has none."""

    cluster: Cluster
    namespace: str
    outside: str

    async def get(self, url: str, *curl: str, by: str = "deploy/web") -> dict[str, Any]:
        """What the echo service says that it got; KubectlError if curl gets no answer, or one over 399."""
        command = ("curl", "-sS", "--fail-with-body", "-m", "10", *curl, url)
        answer: dict[str, Any] = json.loads(
            await self.cluster.exec(self.namespace, by, *command, container="app")
        )
        return answer

    async def status(self, url: str, *curl: str, by: str = "deploy/web") -> int:
        """The status of the answer; 0 if there is none."""
        command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", *curl, url)
        try:
            return int(await self.cluster.exec(self.namespace, by, *command, container="app"))
        except KubectlError:
            return 0

    async def stranger(self, url: str) -> int:
        """The status that one without a sidecar gets; 0 if there is no answer."""
        command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", url)
        try:
            return int(await self.cluster.exec(self.outside, "stranger", *command))
        except KubectlError:
            return 0


@asynccontextmanager
async def a_mesh(cluster: Cluster, prefix: str) -> AsyncIterator[Mesh]:
    """Meshwright is installed there. The namespaces, which begin with `prefix`, end with the block."""
    async with (
        cluster.namespace(prefix, INJECTED) as inside,
        cluster.namespace(f"{prefix}-outside") as outside,
    ):
        await cluster.apply(
            objects.service_account("web"),
            objects.service_account("api"),
            objects.deployment("web", objects.container(), account="web"),
            objects.deployment("api", account="api"),
            objects.service("api"),
            namespace=inside,
        )
        await cluster.apply(objects.pod("stranger"), namespace=outside)
        await cluster.ready(inside, "deploy/web", "deploy/api", patience=240)
        await cluster.ready(outside, "pod/stranger")
        yield Mesh(cluster, inside, outside)
