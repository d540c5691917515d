"""The store's rows: 10,000 documents listed, watched and started with.

There is no peer that keeps documents as we do (with every revision, in an engine of choice), so each row stands beside what is
nearest: etcd, which holds a Kubernetes mesh's documents, where it is installed (Debian: `apt-get install etcd-server`); else the bare
engine, without documents and revisions; and for the start, ourselves with the same documents in a directory.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import yaml

from bench.build import ROOT
from bench.processes import LOOPBACK, free_ports, running, wait_until_answers
from bench.report import Row
from discovery.consul_options import ConsulOptions
from documents.reading import Tree
from mesh.names import Key
from store.backend import Backend
from store.consul_kv import ConsulBackend
from store.repository import Repository
from store.sqlite import SqliteBackend
from store.writes import Put

WATCHED = 50
"""Writes of which each is waited for."""
LISTED = 3


def rows(count: int) -> list[Row]:
    """All three, measured now, with `count` documents."""
    with tempfile.TemporaryDirectory(prefix="meshwright-bench-") as folder:
        place = pathlib.Path(folder)
        found = asyncio.run(_engines(place, count))
        return [*found, _start(place, count)]


def documents(count: int) -> Iterator[Put]:
    """A service, and three policies and routes of it, and so on."""
    for number in range(count):
        service = f"service-{number // 4:05}"
        reference: dict[str, Tree] = {"kind": "Service", "name": service}
        match number % 4:
            case 0:
                spec: dict[str, Tree] = {"ports": [{"name": "http", "port": 80, "protocol": "http"}]}
                yield _put("Service", service, spec)
            case 1:
                rules: list[Tree] = [
                    {"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "backendRefs": [{"name": service, "port": 80}]},
                    {"backendRefs": [{"name": service, "port": 80}]},
                ]  # fmt: skip
                yield _put("HTTPRoute", service, {"parentRefs": [{"group": "", **reference}], "rules": rules})
            case 2:
                yield _put("TimeoutPolicy", service, {"targetRefs": [reference], "request": "15s"})
            case _:
                retry: dict[str, Tree] = {"targetRefs": [reference], "attempts": 3, "on": ["5xx", "reset"]}
                yield _put("RetryPolicy", service, retry)


def _put(kind: str, name: str, spec: dict[str, Tree]) -> Put:
    api = "gateway.networking.k8s.io/v1" if kind == "HTTPRoute" else "meshwright.dev/v1alpha1"
    body: dict[str, Tree] = {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default", "labels": {"team": "red", "tier": "one"}},
        "spec": spec,
    }
    return Put(kind, Key("default", name), body)


async def _engines(folder: pathlib.Path, count: int) -> list[Row]:
    """The rows `store_list` and `store_watch`."""
    listed: dict[str, Any] = {}
    watched: dict[str, Any] = {}
    async with _sqlite(folder) as backend:
        await _measure("sqlite", backend, count, listed, watched)
        listed["bare_sqlite"] = await _bare_list(folder / "store.db")
    if consul := _consul():
        async with _consul_backend(consul, folder) as backend:
            await _measure("consul", backend, count, listed, watched)
    if etcd := shutil.which("etcd"):
        with _etcd(etcd, folder) as port:
            listed["etcd"], watched["etcd"] = await _etcd_figures(port, count)
    peer = "etcd" if etcd else "bare_sqlite"
    return [
        _row("store_list", f"{count:,} documents listed by a process that has none yet", listed, peer, 4.0),
        _row(
            "store_watch",
            f"a write to one of {count:,} documents until a watcher has it",
            watched,
            "etcd",
            8.0,
        ),
    ]


def _row(name: str, what: str, figures: dict[str, Any], peer: str, limit: float) -> Row:
    """`peer` 0: there is none on this machine, so that there is no ratio to judge."""
    theirs = figures.get(peer, 0.0)
    extra = {"peer_is": peer if theirs else "none: etcd is not installed", "figures": figures}
    return Row(name, what, "ms", figures["sqlite"], theirs, limit if theirs else None, extra)


async def _measure(
    name: str, backend: Backend, count: int, listed: dict[str, Any], watched: dict[str, Any]
) -> None:
    repository = Repository(backend)
    begin = time.perf_counter()
    await repository.commit(documents(count), author="bench")
    listed[f"{name}_written"] = _since(begin)
    listed[name] = statistics.median([await _timed(Repository(backend).list) for _ in range(LISTED)])
    listed[f"{name}_again"] = await _second_list(backend)
    times: list[float] = []
    reader = Repository(backend)
    revisions = reader.watch((await reader.head()).number)
    body = next(documents(1))
    for number in range(WATCHED):
        seen = asyncio.ensure_future(anext(revisions))
        await asyncio.sleep(0.02)  # It waits by now, as a watcher does nearly always.
        begin = time.perf_counter()
        spec: dict[str, Tree] = {"ports": [{"name": "http", "port": number + 1, "protocol": "http"}]}
        await repository.commit([Put(body.kind, body.key, {**body.body, "spec": spec})], author="bench")
        await seen
        times.append(_since(begin))
    await revisions.aclose()
    watched[name] = statistics.median(times)
    watched[f"{name}_slowest"] = max(times)


async def _second_list(backend: Backend) -> float:
    """By a process that has listed before, after one document has changed."""
    repository = Repository(backend)
    await repository.list()
    body = next(documents(1))
    await repository.commit([Put(body.kind, body.key, {**body.body, "spec": {}})], author="bench")
    return await _timed(repository.list)


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await call()
    return _since(begin)


def _since(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000


async def _bare_list(path: pathlib.Path) -> float:
    """As many rows, read and taken from JSON, and nothing checked."""

    def read() -> int:
        with contextlib.closing(sqlite3.connect(path)) as db:
            rows = db.execute("SELECT data FROM blobs WHERE CAST(data AS TEXT) LIKE '{\"body%'")
            return sum(1 for (data,) in rows if json.loads(data))

    return await _timed(lambda: asyncio.to_thread(read))


@contextlib.asynccontextmanager
async def _sqlite(folder: pathlib.Path) -> AsyncIterator[Backend]:
    backend = await SqliteBackend.open(folder / "store.db")
    yield backend
    await backend.close()


def _consul() -> str | None:
    """The binary, installed on first use; None where that is not possible."""
    script = ROOT / "scripts" / "install" / "consul.sh"
    ran = subprocess.run([str(script)], stdout=subprocess.PIPE, text=True, check=False)
    return ran.stdout.split()[-1] if ran.returncode == 0 else None


@contextlib.asynccontextmanager
async def _consul_backend(binary: str, folder: pathlib.Path) -> AsyncIterator[Backend]:
    http, server, serf = free_ports(3)
    command = (
        *(binary, "agent", "-server", "-bootstrap-expect=1", f"-data-dir={folder / 'consul'}", "-bind=127.0.0.1"),
        *(f"-http-port={http}", f"-server-port={server}", f"-serf-lan-port={serf}", "-serf-wan-port=-1", "-dns-port=-1"),
    )  # fmt: skip
    with running("consul", folder / "consul.log", *command) as process:
        wait_until_answers(process, http, "/v1/operator/raft/configuration")
        backend = await ConsulBackend.open(ConsulOptions(address=f"http://{LOOPBACK}:{http}"), "bench")
        yield backend
        await backend.close()


@contextlib.contextmanager
def _etcd(binary: str, folder: pathlib.Path) -> Iterator[int]:
    client, peer = free_ports(2)
    command = (
        *(binary, "--data-dir", str(folder / "etcd"), "--listen-client-urls", f"http://{LOOPBACK}:{client}"),
        *("--advertise-client-urls", f"http://{LOOPBACK}:{client}", "--listen-peer-urls", f"http://{LOOPBACK}:{peer}"),
        *("--initial-advertise-peer-urls", f"http://{LOOPBACK}:{peer}", "--initial-cluster", f"default=http://{LOOPBACK}:{peer}"),
    )  # fmt: skip
    with running("etcd", folder / "etcd.log", *command) as process:
        wait_until_answers(process, client, "/health")
        yield client


async def _etcd_figures(port: int, count: int) -> tuple[float, float]:
    """The same documents listed (and taken from JSON), and one watched, over etcd's HTTP gateway: in milliseconds."""
    base = f"http://{LOOPBACK}:{port}/v3"
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 24) as session:

        async def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
            async with session.post(f"{base}/{path}", json=body) as answer:
                answer.raise_for_status()
                found: dict[str, Any] = await answer.json()
                return found

        puts = [
            {
                "requestPut": {
                    "key": _b64(f"docs/{each.kind}/{each.key}"),
                    "value": _b64(json.dumps(dict(each.body))),
                }
            }
            for each in documents(count)
        ]
        for start in range(0, len(puts), 100):
            await ask("kv/txn", {"success": puts[start : start + 100]})

        async def listed() -> None:
            found = await ask("kv/range", {"key": _b64("docs/"), "range_end": _b64("docs0")})
            read = [json.loads(base64.b64decode(each["value"])) for each in found["kvs"]]
            assert len(read) == count  # noqa: S101 - a measurement of something else would be no measurement

        times: list[float] = []
        request = {"create_request": {"key": _b64("docs/"), "range_end": _b64("docs0")}}
        async with session.post(f"{base}/watch", json=request) as watching:
            await watching.content.readline()
            for number in range(WATCHED):
                seen = asyncio.ensure_future(watching.content.readline())
                await asyncio.sleep(0.02)
                begin = time.perf_counter()
                await ask(
                    "kv/put", {"key": _b64("docs/Service/default/service-00000"), "value": _b64(f"{number}")}
                )
                await seen
                times.append(_since(begin))
        for each in documents(1):
            await ask(
                "kv/put",
                {"key": _b64(f"docs/{each.kind}/{each.key}"), "value": _b64(json.dumps(dict(each.body)))},
            )
        return statistics.median([await _timed(listed) for _ in range(LISTED)]), statistics.median(times)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _start(folder: pathlib.Path, count: int) -> Row:
    """From the start of `meshwright serve` until it is ready."""
    data, files = folder / "data", folder / "documents"
    _served(folder, data)  # makes the authority and the empty store
    empty = _served(folder, data)
    asyncio.run(_fill(data / "store.db", count))
    stored = statistics.median([_served(folder, data) for _ in range(LISTED)])
    files.mkdir()
    four: list[dict[str, Any]] = []
    for number, each in enumerate(documents(count)):
        four.append(dict(each.body))
        if len(four) == 4 or number == count - 1:
            (files / f"{number // 4:05}.yaml").write_text(yaml.dump_all(four, Dumper=yaml.CSafeDumper))
            four = []
    other = folder / "other"
    _served(folder, other, "--documents", str(files))
    read = statistics.median([_served(folder, other, "--documents", str(files)) for _ in range(LISTED)])
    extra = {
        "peer_is": "meshwright with the same documents in a directory",
        "figures": {"empty_store": empty},
    }
    what = f"started with {count:,} documents in the store until ready"
    return Row("store_start", what, "ms", stored, read, 1.5, extra)


async def _fill(path: pathlib.Path, count: int) -> None:
    backend = await SqliteBackend.open(path)
    await Repository(backend).commit(documents(count), author="bench")
    await backend.close()


def _served(folder: pathlib.Path, data: pathlib.Path, *options: str) -> float:
    xds, join, admin, api = free_ports(4)
    command = (
        *(sys.executable, "-m", "meshwright", "serve", "--data-dir", str(data), *options, "--log-level", "error"),
        *("--xds-address", f"{LOOPBACK}:{xds}", "--join-address", f"{LOOPBACK}:{join}"),
        *("--admin-address", f"{LOOPBACK}:{admin}", "--api-address", f"{LOOPBACK}:{api}"),
    )  # fmt: skip
    begin = time.perf_counter()
    with running("meshwright", folder / "meshwright.log", *command) as process:
        wait_until_answers(process, admin, "/readyz")
        return _since(begin)
