"""The cluster of scripts/kubernetes/cluster.sh, asked and told as its users do: by kubectl.

What tests assert about Kubernetes is seen through kubectl, never through the client under test.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import yaml

from tests.support.binaries import ROOT
from tests.support.processes import eventually

T = TypeVar("T")
Manifest = Mapping[str, Any]
SCRIPTS = ROOT / "scripts" / "kubernetes"
PATIENCE = 120.0
"""Seconds that a condition gets: pods start in two, but a busy machine takes its time."""


class KubectlError(AssertionError):
    """What kubectl said when it failed. An AssertionError, so that `eventually` takes it for "not yet"."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: where its kubeconfig and its kubectl are, and the address of this machine as its pods see it."""

    kubeconfig: Path
    kubectl: Path
    number: int = 1

    @property
    def host(self) -> str:
        """A process of this machine that listens here is reached by pods and by the API server."""
        return f"172.30.255.{4 * self.number - 3}"

    @property
    def api_server(self) -> str:
        return f"https://{self.node}:6443"

    @property
    def node(self) -> str:
        """The node's own address, as this machine reaches it."""
        return f"172.30.255.{4 * self.number - 2}"

    @property
    def node_namespace(self) -> str:
        """The network namespace in which the node lives."""
        return f"hk8s{self.number}"

    async def run(self, *arguments: str, stdin: str | None = None, patience: float = PATIENCE) -> str:
        """The output of `kubectl ARGUMENTS`; KubectlError with its message when it fails."""
        process = await asyncio.create_subprocess_exec(
            str(self.kubectl),
            f"--kubeconfig={self.kubeconfig}",
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(
                process.communicate(stdin.encode() if stdin is not None else None), patience
            )
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = (err or out).decode(errors="replace").strip()
            raise KubectlError(f"kubectl {' '.join(arguments)} exited with {process.returncode}: {said}")
        return out.decode(errors="replace")

    async def apply(self, *manifests: Manifest | str, namespace: str | None = None) -> None:
        """Server-side apply of objects, or of YAML texts: refused whole when one is wrong, as kubectl does it."""
        texts = [each if isinstance(each, str) else yaml.safe_dump(dict(each)) for each in manifests]
        where = ("--namespace", namespace) if namespace else ()
        await self.run(
            *where, "apply", "--server-side", "--force-conflicts", "--filename=-", stdin="\n---\n".join(texts)
        )

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """One object; KubectlError if there is none."""
        where = ("--namespace", namespace) if namespace else ()
        found: dict[str, Any] = json.loads(await self.run(*where, "get", kind, name, "--output=json"))
        return found

    async def objects(
        self, kind: str, namespace: str | None = None, selector: str | None = None
    ) -> list[dict[str, Any]]:
        """All objects of a kind in one namespace, or in all of them."""
        where = ("--namespace", namespace) if namespace else ("--all-namespaces",)
        chosen = ("--selector", selector) if selector else ()
        found: list[dict[str, Any]] = json.loads(
            await self.run(*where, "get", kind, *chosen, "--output=json")
        )["items"]
        return found

    async def delete(self, kind: str, name: str, namespace: str | None = None, *, wait: bool = True) -> None:
        """It is no error if there is none."""
        where = ("--namespace", namespace) if namespace else ()
        await self.run(*where, "delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}")

    async def exec(
        self,
        namespace: str,
        pod: str,
        *command: str,
        container: str | None = None,
        patience: float = PATIENCE,
    ) -> str:
        """The output of a command in a pod; `pod` may be `deploy/NAME` as well. KubectlError if it fails."""
        chosen = ("--container", container) if container else ()
        return await self.run(
            "--namespace", namespace, "exec", pod, *chosen, "--", *command, patience=patience
        )

    async def logs(self, namespace: str, pod: str, container: str | None = None) -> str:
        chosen = ("--container", container) if container else ()
        return await self.run("--namespace", namespace, "logs", pod, *chosen)

    async def ready(self, namespace: str, *resources: str, patience: float = PATIENCE) -> None:
        """Until Deployments, StatefulSets and DaemonSets are rolled out, and pods are Ready. `deploy/web`, `pod/client`, …

        When they are not in time, the error says what the namespace's pods and events say.
        """
        within = f"--timeout={patience:.0f}s"
        try:
            for each in resources:
                what = ("wait", "--for=condition=Ready") if each.startswith("pod") else ("rollout", "status")
                await self.run("--namespace", namespace, *what, each, within, patience=patience + 10)
        except KubectlError as error:
            pods = await self.run("--namespace", namespace, "get", "pods", "--output=wide")
            events = await self.run("--namespace", namespace, "get", "events", "--sort-by=.lastTimestamp")
            raise KubectlError(f"{error}\n{pods}\n{events[-4000:]}") from error

    async def eventually(
        self, question: Callable[[], Awaitable[T | None]], what: str, *, patience: float = PATIENCE
    ) -> T:
        """Ask until the answer is truthy, and return it. Slower than for local processes: each question starts a kubectl."""
        return await eventually(question, what, patience=patience, every=0.2)

    @asynccontextmanager
    async def namespace(self, prefix: str, labels: Mapping[str, str] | None = None) -> AsyncIterator[str]:
        """A namespace of one's own with a fresh name; it goes with all that is in it, which nobody waits for."""
        name = f"{prefix}-{uuid4().hex[:6]}"
        await self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": {"meshwright.dev/test": "true", **(labels or {})}},
            }
        )
        # Pods may name it at once: the controller makes it a moment after the namespace.
        await self.eventually(
            lambda: self.get("serviceaccount", "default", name), f"a service account in {name}"
        )
        try:
            yield name
        finally:
            await self.delete("namespace", name, wait=False)


def up(number: int = 1, *, node: bool = True) -> Cluster:
    """Start the cluster, or reuse the one that runs: it is built first, which takes ten minutes once for each machine."""
    environment = {"N": str(number), **({} if node else {"NO_NODE": "1"})}
    started = _script("cluster.sh", "up", **environment)
    kubeconfig = Path(started.strip().splitlines()[-1])
    return Cluster(kubeconfig, kubeconfig.parents[2] / "bin" / "kubectl", number)


def down(cluster: Cluster) -> None:
    """End it. The shared one (number 1) is left running by tests: the next run finds it warm."""
    _script("cluster.sh", "down", N=str(cluster.number))


def install(cluster: Cluster, *options: str) -> None:
    """This tree's Meshwright on `cluster`, serving; `options` as of `meshwright install --set`. Seconds if nothing has changed."""
    _script("install.sh", *options, N=str(cluster.number))


def gateway_api(cluster: Cluster) -> None:
    """The definitions of the Gateway API are there."""
    _script("gateway-api.sh", N=str(cluster.number))


def switch_api_server(cluster: Cluster, command: str) -> None:
    """`start` or `stop` the API server alone: what runs goes on."""
    _script("apiserver.sh", command, N=str(cluster.number))


def _script(name: str, *arguments: str, **environment: str) -> str:
    ran = subprocess.run(
        [str(SCRIPTS / name), *arguments],
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise RuntimeError(
            f"{name} {' '.join(arguments)} exited with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-4000:]}"
        )
    return ran.stdout
