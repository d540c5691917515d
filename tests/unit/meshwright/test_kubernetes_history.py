"""When history is looked through: for each new generation, and for no status. The API server is a stand-in that counts.

`tests/kubernetes/test_history.py` has the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from documents.reading import Tree
from kube.client import Cluster, Page
from meshwright.kubernetes import history
from meshwright.kubernetes.history import History
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject, kept
from tests.support.processes import eventually


class Server:
    """It has no revisions, and takes each."""

    name = "cluster"

    def __init__(self) -> None:
        self.made: list[int] = []
        self.held = Held()

    async def page(self, *_: object, **__: object) -> Page:
        return Page((), "1", "")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[list[Any]]:
        await asyncio.Event().wait()
        yield []

    async def create(self, resource: object, value: dict[str, Any], namespace: str) -> None:
        self.made.append(value["revision"])

    def put(self, *, generation: int, status: str) -> None:
        found = an_object(generation, status)
        self.held = self.held.with_changes({found.name: found}, "cluster", KINDS)


def an_object(generation: int, status: str) -> ClusterObject:
    metadata: dict[str, Tree] = {
        "name": "api",
        "namespace": "shop",
        "uid": "0123456789",
        "generation": generation,
    }
    spec: dict[str, Tree] = {"targetRefs": [{"kind": "Service", "name": "api"}], "attempts": generation}
    return kept(
        {
            "apiVersion": "meshwright.dev/v1alpha1",
            "kind": "RetryPolicy",
            "metadata": metadata,
            "spec": spec,
            "status": {"said": status},
        }
    )


async def test_a_status_is_no_reason_to_look_through_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LOOK", 0.005)
    server = Server()
    looks = 0

    def held() -> Held:
        nonlocal looks
        looks += 1
        return server.held

    async def looked(times: int = 5) -> None:
        before = looks

        async def enough() -> bool:
            return looks >= before + times

        await eventually(enough, "it has looked whether anything is new")

    async def made(*generations: int) -> None:
        async def there() -> bool:
            return len(server.made) >= len(generations)

        await eventually(there, f"revisions {generations}")
        assert server.made == [*generations]

    kept_by = History(cast("Cluster", server), held, 10, clock=lambda: 0.0, random=lambda: 0.5)
    task = asyncio.create_task(kept_by.run())
    try:
        server.put(generation=1, status="one")
        await made(1)
        # Nothing comes of the watch here: whoever goes through all of it again makes the same revision once more.
        server.put(generation=1, status="two")
        await looked()
        server.put(generation=2, status="two")
        await made(1, 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
