"""The writer of statuses: what differs is written once, what is settled never, and a server that keeps something else is not asked for ever.

The API server is a stand-in here, for what the real one cannot be made to do at will: to drop a field, and to be late with its watch.
`tests/kubernetes/test_statuses.py` has the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from immutables import Map
from prometheus_client import CollectorRegistry

from kube.client import Cluster
from kube.errors import Busy, Conflict
from kube.resource import Resource
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes import statuses
from meshwright.kubernetes.statuses import StatusWriter, difference
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject
from tests.support.processes import eventually

KIND = Resource("meshwright.dev", "v1alpha1", "retrypolicies", "RetryPolicy")
STATE = MeshState("test")


class Server:
    """Some objects, and what is said of them; `late`: the watch tells nothing of writes."""

    def __init__(self, *names: str, late: bool = False, dropped: tuple[str, ...] = ()) -> None:
        self.late = late
        self.dropped = dropped
        self.fails: Exception | None = None
        self.writes: list[tuple[str, dict[str, Any]]] = []
        self.version = 1
        self.held = Held(
            objects=Map({("RetryPolicy", Key("shop", each)): self.an_object(each) for each in names})
        )

    def an_object(self, name: str, status: dict[str, Any] | None = None) -> ClusterObject:
        return ClusterObject(
            "meshwright.dev/v1alpha1",
            "RetryPolicy",
            Key("shop", name),
            f"uid-{name}",
            1,
            str(self.version),
            {},
            status or {},
        )

    async def patch_status(
        self, resource: Resource, name: str, status: dict[str, Any], namespace: str = "", *, version: str = ""
    ) -> dict[str, Any]:
        assert resource is KIND
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.writes.append((name, status))
        self.version += 1
        if not self.late:
            before = self.held.objects["RetryPolicy", Key(namespace, name)]
            kept = {key: value for key, value in status.items() if key not in self.dropped}
            self.put(self.an_object(name, {**before.status, **kept}))
        return {"metadata": {"resourceVersion": str(self.version)}}

    def put(self, found: ClusterObject) -> None:
        self.held = Held(objects=self.held.objects.set(found.name, found))


class Says:
    """Wishes the same for every object."""

    waiting = False

    def __init__(self, **status: Any) -> None:
        self.status = status
        self.asked = 0

    def goes_by(self, state: MeshState) -> tuple[object, ...]:
        return (state.declared,)

    def moves(self) -> object:
        return tuple(self.status.items())

    def __call__(self, state: MeshState, held: Held) -> Iterable[tuple[ClusterObject, dict[str, Any]]]:
        assert state.trust_domain == STATE.trust_domain
        assert threading.current_thread() is threading.main_thread()
        self.asked += 1
        return self.wished(held)

    def wished(self, held: Held) -> Iterator[tuple[ClusterObject, dict[str, Any]]]:
        assert threading.current_thread() is not threading.main_thread(), "it may be long"
        for each in held.objects.values():
            yield each, dict(self.status)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACE", "LOOK", "AGAIN"):
        monkeypatch.setattr(statuses, name, 0.005)


@contextlib.asynccontextmanager
async def writing(
    server: Server, *says: Says, state: Callable[[], MeshState] = lambda: STATE
) -> AsyncIterator[StatusWriter]:
    writer = StatusWriter(
        cast("Cluster", server),
        says,
        state=state,
        held=lambda: server.held,
        resource=lambda _: KIND,
        clock=asyncio.get_running_loop().time,
        registry=CollectorRegistry(),
    )
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked_again(says: Says, times: int = 3) -> None:
    """Until the source was asked some more times: what is not written by then is not to be written."""
    before = says.asked

    async def enough() -> bool:
        return says.asked >= before + times

    says.waiting = True
    await eventually(enough, "the source is asked again")
    says.waiting = False


def names(server: Server) -> Iterator[str]:
    return (name for name, _ in server.writes)


def test_what_differs_is_what_is_wished_for_alone() -> None:
    assert difference({"a": 1, "b": [2]}, {"a": 1, "b": [3], "others": 4}) == {"b": [2]}
    assert difference({"a": None}, {}) == {}
    assert difference({"a": None}, {"a": 1}) == {"a": None}


async def test_what_is_settled_is_not_written_again() -> None:
    server, says = Server("a", "b"), Says(phase="one")
    async with writing(server, says):
        await asked_again(says)
        assert sorted(names(server)) == ["a", "b"]
        says.status["phase"] = "two"
        await asked_again(says)
        assert len(server.writes) == 4
        server.version += 1
        server.put(server.an_object("a", {"phase": "somebody else's"}))
        await asked_again(says)
        assert server.writes[4:] == [("a", {"phase": "two"})]


async def test_a_late_watch_makes_no_second_write() -> None:
    server, says = Server("a", late=True), Says(phase="one")
    async with writing(server, says):
        await asked_again(says)
        assert len(server.writes) == 1


async def test_a_server_that_keeps_something_else_is_told_once() -> None:
    server, says = Server("a", dropped=("phase",)), Says(phase="one")
    async with writing(server, says):
        await asked_again(says)
        assert len(server.writes) == 1
        says.status["phase"] = "two"
        await asked_again(says)
        assert len(server.writes) == 2


@pytest.mark.parametrize("failure", [Busy("429"), Conflict("409")], ids=["busy", "conflict"])
async def test_what_fails_is_tried_again(failure: Exception) -> None:
    server, says = Server("a"), Says(phase="one")
    server.fails = failure
    async with writing(server, says):
        await asked_again(says)
        assert server.writes == []
        server.fails = None
        await asked_again(says)
        assert server.writes == [("a", {"phase": "one"})]


async def test_what_a_source_does_not_go_by_is_no_reason_to_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each endpoint is another state; a source whose part of it is another is asked, and no other one."""
    monkeypatch.setattr(statuses, "REST", 1e6)
    server, says, other = Server(), Says(), Says()
    mesh = [STATE]
    async with writing(server, says, other, state=lambda: mesh[0]):
        await asked_again(other)
        assert says.asked == 1
        mesh[0] = replace(STATE, leaving=frozenset({Key("shop", "web")}))
        await asked_again(other)
        assert says.asked == 1
        mesh[0] = replace(STATE, declared=Map({("RetryPolicy", Key("shop", "a")): cast("Any", object())}))
        await asked_again(other)
        assert says.asked == 2


async def test_what_it_does_not_go_by_is_looked_at_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "REST", 0.005)
    server, says, other = Server(), Says(), Says()
    mesh = [STATE]
    async with writing(server, says, other, state=lambda: mesh[0]):
        await asked_again(other)
        mesh[0] = replace(STATE, leaving=frozenset({Key("shop", "web")}))

        async def asked() -> bool:
            return says.asked == 2

        await eventually(asked, "it is asked again")
