"""The rows of Kubernetes: thousands of Services and their EndpointSlices in a real API server, without pods.

Each stands beside Meshwright itself with the same mesh in a directory of documents, which is what the registry adds to. The
API server is that of scripts/kubernetes/cluster.sh, a cluster of its own without a node, on this machine: it takes its part of the cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from bench.api_load import Load, between
from bench.kubernetes_cluster import NAMESPACE, BenchCluster, a_cluster
from bench.measure import Plan, Run, measure
from bench.processes import LOOPBACK, BenchError, cpu_seconds, free_ports, running, wait_until_answers
from bench.report import Row
from bench.shape import PROXY, Shape, address, proxy_documents, service_name
from bench.sides import TRUST_DOMAIN, Meshwright, Server
from kube.access import ClusterOptions
from kube.client import Cluster
from kube.errors import AlreadyExists
from kube.resource import ENDPOINT_SLICES, SERVICES, Object

T = TypeVar("T")
AT_ONCE = 24
STARTS = 3


def rows(shape: Shape, xdsload: pathlib.Path) -> list[Row]:
    """All of them, measured now. BenchError if there is no cluster."""
    with a_cluster() as there, _Api(there.kubeconfig) as api:
        loaded = api.run(lambda cluster: _load(cluster, shape))
        plan = Plan(shape, replacements=15, additions=0)
        ours_side = OnKubernetes(there, api)
        ours = measure(ours_side, "delta", plan, xdsload)
        asked = ours_side.asked
        theirs_side = _Timed()
        theirs = measure(theirs_side, "delta", plan, xdsload)
        starts = {
            side: [side.started, *(_start(side, shape) for _ in range(STARTS - 1))]
            for side in (ours_side, theirs_side)
        }
    return [
        _row("kubernetes_start", f"started with {shape} in the API server until ready", "ms",
             starts[ours_side], starts[theirs_side], loading_seconds=round(loaded, 1),
             cpu_seconds={"meshwright": round(ours_side.spent, 2), "peer": round(theirs_side.spent, 2)}),
        _row("kubernetes_memory", "memory with these, after the cold start", "MB",
             [ours.memory.pss / 1e6], [theirs.memory.pss / 1e6],
             rss={"meshwright": round(ours.memory.rss / 1e6, 1), "peer": round(theirs.memory.rss / 1e6, 1)},
             peak_rss={"meshwright": round(ours.memory.peak / 1e6, 1), "peer": round(theirs.memory.peak / 1e6, 1)}),
        _row("kubernetes_slice_change", "an EndpointSlice changed: PATCH until the last proxy has it", "ms",
             _replaced(ours), _replaced(theirs), proxies=shape.proxies),
        *_api_load(asked),
    ]  # fmt: skip


class OnKubernetes:
    """`meshwright serve` with a cluster. The proxies are documents: they are nobody's pods."""

    def __init__(self, there: BenchCluster, api: _Api) -> None:
        self.name = "meshwright-kubernetes"
        self.started = 0.0
        """Milliseconds of the last start until it was ready."""
        self.spent = 0.0
        """Seconds of CPU until then: what other work of the machine does not change."""
        self.asked: Asked | None = None
        """What the last run has asked of the API server."""
        self._there = there
        self._api = api

    @contextlib.contextmanager
    def serving(self, folder: pathlib.Path, shape: Shape) -> Iterator[Server]:
        documents = folder / "documents"
        documents.mkdir()
        (documents / "proxies.yaml").write_text(proxy_documents(shape))
        settings = folder / "settings.yaml"
        settings.write_text(f"kubernetes: {{kubeconfig: {self._there.account(folder)}}}\nstore: none\n")
        xds, join, admin, plaintext = free_ports(4)
        command = (
            *(sys.executable, "-m", "meshwright", "serve", "--config", str(settings)),
            *("--data-dir", str(folder / "data"), "--documents", str(documents)),
            *("--trust-domain", TRUST_DOMAIN, "--log-level", "warning"),
            *("--xds-address", f"{LOOPBACK}:{xds}", "--join-address", f"{LOOPBACK}:{join}"),
            *("--admin-address", f"{LOOPBACK}:{admin}", "--api-address", f"{LOOPBACK}:0"),
            *("--plaintext-address", f"{LOOPBACK}:{plaintext}"),
        )
        before = self._there.counters()
        begin = time.perf_counter()
        with running(self.name, folder / "meshwright.log", *command) as process:
            wait_until_answers(process, admin, "/readyz")
            self.started = (time.perf_counter() - begin) * 1e3
            self.spent = cpu_seconds(process.pid)
            ready, since, changes = self._there.counters(), time.perf_counter(), 0

            def replaced(endpoint: str) -> Callable[[], object]:
                nonlocal changes
                changes += 1
                patch = _slice(shape, 0, endpoint.rpartition(":")[0])
                name = patch["metadata"]["name"]
                return lambda: self._api.run(
                    lambda cluster: cluster.patch(
                        ENDPOINT_SLICES, name, {"endpoints": patch["endpoints"]}, NAMESPACE
                    )
                )

            def added(_endpoint: str) -> Callable[[], object]:
                raise BenchError("no Service is added in these rows")

            yield Server(
                process, plaintext, f"{NAMESPACE}/{PROXY}", replaced, added,
                cluster=lambda number: f"{NAMESPACE}/{service_name(number)}:80",
            )  # fmt: skip
            later = self._there.counters()
            self.asked = Asked(
                between(before, ready), between(ready, later), changes, time.perf_counter() - since
            )


@dataclass(frozen=True, slots=True)
class Asked:
    """Of the API server: until ready, and in the `seconds` after that, in which `changes` slices were changed."""

    until_ready: Load
    afterwards: Load
    changes: int
    seconds: float


class _Timed:
    """Meshwright with a directory, and how long its start took."""

    def __init__(self) -> None:
        self._side = Meshwright()
        self.name = self._side.name
        self.started = self.spent = 0.0

    @contextlib.contextmanager
    def serving(self, folder: pathlib.Path, shape: Shape) -> Iterator[Server]:
        serving = self._side.serving(folder, shape)
        begin = time.perf_counter()
        with serving as server:
            self.started = (time.perf_counter() - begin) * 1e3
            self.spent = cpu_seconds(server.process.pid)
            yield server


class _Api:
    """An open client in a thread of its own, so that a change is one request on a connection that is there."""

    def __init__(self, kubeconfig: pathlib.Path) -> None:
        self._options = ClusterOptions(kubeconfig=str(kubeconfig))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kubernetes api")

    def __enter__(self) -> Self:
        self._thread.start()
        self._cluster = Cluster(self._options, clock=time.monotonic)
        self._await(self._cluster.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._cluster.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, ask: Callable[[Cluster], Awaitable[T]]) -> T:
        async def asked() -> T:
            return await ask(self._cluster)

        made: T = self._await(asked())
        return made

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


@dataclass(frozen=True, slots=True)
class _Made:
    resource: Any
    value: Object


async def _load(cluster: Cluster, shape: Shape) -> float:
    """Seconds that it took to put all of it into the API server."""
    begin = time.perf_counter()
    waiting = asyncio.Semaphore(AT_ONCE)

    async def make(made: _Made) -> None:
        async with waiting:
            with contextlib.suppress(AlreadyExists):
                await cluster.create(made.resource, made.value, NAMESPACE)

    async with asyncio.TaskGroup() as group:
        for number in range(shape.services):
            group.create_task(make(_Made(SERVICES, _service(number))))
            group.create_task(make(_Made(ENDPOINT_SLICES, _slice(shape, number))))
    return time.perf_counter() - begin


def _service(number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service_name(number)},
        # Without a selector: nobody but us makes its slices.
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}]},
    }


def _slice(shape: Shape, number: int, first: str | None = None) -> Object:
    hosts = [address(number, endpoint) for endpoint in range(shape.endpoints)]
    if first is not None:
        hosts[0] = first
    name = service_name(number)
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {"name": f"{name}-bench", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}, "zone": "a"} for host in hosts],
    }


def _start(side: OnKubernetes | _Timed, shape: Shape) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="meshwright-bench-") as name,
        side.serving(pathlib.Path(name), shape),
    ):
        return side.started


def _api_load(asked: Asked | None) -> list[Row]:
    """What Meshwright costs the API server, by the server's own counters; nobody is compared with."""
    if asked is None:
        raise BenchError("the run on Kubernetes has not come to its end: what it asked is not known")

    def row(name: str, what: str, unit: str, value: float, **extra: object) -> Row:
        return Row(f"kubernetes_api_{name}", f"API server: {what}", unit, value, 0.0, None, extra)

    start, later = asked.until_ready, asked.afterwards
    listed = sum(start.lists.values())
    slices = f"{ENDPOINT_SLICES.plural}.{ENDPOINT_SLICES.group}"
    return [
        row("start_requests", "requests until ready", "", start.requests,
            by_verb={"LIST": listed, "WATCH and GET": start.requests - listed}, lists=dict(start.lists)),
        row("start_bytes", "lists until ready", "MB", sum(start.list_bytes.values()) / 1e6,
            by_resource=dict(start.list_bytes)),
        row("steady_requests", f"requests a minute, with {asked.changes} changes in {asked.seconds:.0f} s", "",
            60.0 * later.requests / asked.seconds,
            requests=later.requests, lists=dict(later.lists), seconds=round(asked.seconds, 1), changes=asked.changes),
        row("event_bytes", "what a watch is sent of a changed slice", "bytes", later.event_bytes.get(slices, 0)),
    ]  # fmt: skip


def _replaced(run: Run) -> list[float]:
    return list(run.endpoint_replaced)


def _row(name: str, what: str, unit: str, ours: list[float], theirs: list[float], **extra: object) -> Row:
    return Row(
        name,
        what,
        unit,
        statistics.median(ours),
        statistics.median(theirs),
        None,
        {
            "peer_is": "meshwright with the same mesh in a directory of documents",
            "samples": {
                "meshwright": [round(each, 1) for each in ours],
                "peer": [round(each, 1) for each in theirs],
            },
            **extra,
        },
    )
