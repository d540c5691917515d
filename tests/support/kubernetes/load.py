"""Constant load from a pod of the cluster, and what became of each request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster

LOAD = """
import collections, http.client, json, os, sys, threading, time

host, threads, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
seen, wrong, lock, ended = collections.Counter(), [], threading.Lock(), threading.Event()

def told(pod, problem):
    with lock:
        if problem:
            wrong.append([round(time.time(), 3), problem])
        else:
            seen[pod] += 1

def caller(number):
    kept = None
    while not ended.is_set():
        # Half of them on connections that stay, as pools have them; half on new ones.
        connection = kept or http.client.HTTPConnection(host, timeout=20)
        try:
            connection.request("GET", "/", headers={"user-agent": "load"})
            answer = connection.getresponse()
            body = answer.read()
            told(json.loads(body)["pod"] if answer.status == 200 else "", "" if answer.status == 200 else f"{answer.status} {body[:200]!r}")
        except Exception as error:
            told("", f"{type(error).__name__}: {error}")
            connection.close()
            kept = None
            continue
        kept = connection if number % 2 else None
        if kept is None:
            connection.close()
        time.sleep(pause)

workers = [threading.Thread(target=caller, args=(number,)) for number in range(threads)]
for each in workers:
    each.start()
while not os.path.exists("/tmp/end"):
    time.sleep(0.1)
    with lock:
        state = {"answered": sum(seen.values()), "pods": dict(seen), "failed": wrong[:50], "failures": len(wrong)}
    with open("/tmp/state.part", "w") as file:
        json.dump(state, file)
    os.replace("/tmp/state.part", "/tmp/state")
ended.set()
for each in workers:
    each.join()
with lock:
    print(json.dumps({"answered": sum(seen.values()), "pods": dict(seen), "failed": wrong[:50], "failures": len(wrong)}))
"""
"""Calls `http://HOST/` from THREADS threads, each PAUSE seconds after its last answer, until there is a file /tmp/end. What is known by then stands in /tmp/state."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`pods`: how many requests each answered. `failed`: when, and what was wrong, of the first 50."""

    answered: int
    failures: int
    pods: dict[str, int]
    failed: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Load:
    cluster: Cluster
    namespace: str
    pod: str

    async def so_far(self) -> Outcome:
        said = await self.cluster.exec(self.namespace, self.pod, "cat", "/tmp/state", container="app")
        return _outcome(said)

    async def begun(self) -> None:
        """Until requests are answered."""

        async def answered() -> bool:
            return (await self.so_far()).answered > 0

        await self.cluster.eventually(answered, "load is answered")


def _outcome(said: str) -> Outcome:
    read = json.loads(said)
    return Outcome(read["answered"], read["failures"], read["pods"], read["failed"])


@asynccontextmanager
async def load(
    cluster: Cluster,
    namespace: str,
    host: str,
    *,
    threads: int = 4,
    pause: float = 0.02,
    account: str = "default",
) -> AsyncIterator[Load]:
    """A pod that calls `host` for the length of the block."""
    name = f"load-{uuid4().hex[:6]}"
    caller = objects.container("app", ("python3", "-u", "-c", LOAD, host, str(threads), str(pause)))
    await cluster.apply(objects.pod(name, caller, serviceAccountName=account), namespace=namespace)
    await cluster.ready(namespace, f"pod/{name}")
    running = Load(cluster, namespace, name)
    await running.begun()
    try:
        yield running
    finally:
        await cluster.delete("pod", name, namespace, wait=False)
