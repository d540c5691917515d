"""What an API server does that makes life hard: it forgets its history, and it takes rights away. The line to it is `line.py`."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes import cluster as clusters
from tests.support.kubernetes.cluster import Cluster

Rule = Mapping[str, Sequence[str]]
"""Of a ClusterRole: apiGroups, resources, verbs."""
REGISTRY: tuple[Rule, ...] = (
    {"apiGroups": [""], "resources": ["services", "pods", "nodes", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
)
"""What discovery reads."""
ETCD = "http://127.0.0.1:2379/v3/kv/"


async def stop(cluster: Cluster) -> None:
    await asyncio.to_thread(clusters.switch_api_server, cluster, "stop")


async def start(cluster: Cluster) -> None:
    """Until it answers."""
    await asyncio.to_thread(clusters.switch_api_server, cluster, "start")
    await cluster.eventually(lambda: cluster.run("get", "--raw", "/readyz"), "the API server is ready")


async def restart_forgetful(cluster: Cluster) -> None:
    """The API server starts anew over an etcd that has compacted all history: a watch from before is answered 410."""
    await stop(cluster)
    # `L2hlYWx0aA==` is a key that is not there: only the revision in the answer's header is wanted.
    asked = await _etcd(cluster, "range", '{"key":"L2hlYWx0aA=="}')
    revision = asked.split('"revision":"')[1].split('"')[0]
    await _etcd(cluster, "compaction", f'{{"revision":"{revision}","physical":true}}')
    await start(cluster)


async def _etcd(cluster: Cluster, method: str, body: str) -> str:
    """The answer of the cluster's etcd, which listens in the node's network namespace alone."""
    inside = ("nsenter", f"--net=/run/netns/hk8s{cluster.number}", "curl", "-sf", "--noproxy", "*")
    ran = await asyncio.to_thread(
        subprocess.run, [*inside, "-d", body, ETCD + method], check=True, capture_output=True, text=True
    )
    return ran.stdout


@dataclass(frozen=True, slots=True)
class Reader:
    """A service account that may read what the rules of its role say, as long as it is bound to that. `token` is its credential."""

    cluster: Cluster
    name: str
    token: str
    binding: dict[str, Any]

    async def forbid(self) -> None:
        """Requests from now on are refused; a watch that is open goes on."""
        await self.cluster.delete("clusterrolebinding", self.name)

    async def allow(self) -> None:
        await self.cluster.apply(self.binding)


@asynccontextmanager
async def a_reader(cluster: Cluster, namespace: str, rules: Sequence[Rule]) -> AsyncIterator[Reader]:
    """The account `default` of `namespace`, bound to a ClusterRole with `rules` for the length of the block."""
    name = f"{namespace}-reader"
    rbac = "rbac.authorization.k8s.io"
    role = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [dict(each) for each in rules],
    }
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": rbac},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    await cluster.apply(role, binding)
    try:
        token = (await cluster.run("-n", namespace, "create", "token", "default")).strip()
        yield Reader(cluster, name, token, binding)
    finally:
        await cluster.delete("clusterrolebinding", name)
        await cluster.delete("clusterrole", name)
