"""What the status of an object of ours says, and until when nothing is said yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import yaml

from discovery.file import difference
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes import own_statuses
from meshwright.kubernetes.own_statuses import OwnStatuses
from meshwright.kubernetes.programming import Programming
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject, kept
from tests.support.builders import a_service
from tests.support.processes import eventually

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERVICE = "ports: [{name: http, port: 80, protocol: http}]"
RETRY = "targetRefs: [{kind: Service, name: api}]\nattempts: 3"


class Stream:
    """A stream that has heard of all until `until`."""

    def __init__(self, client: str, until: float = 0.0) -> None:
        self.client = client
        self.until = until

    def heard(self, since: float) -> bool:
        return self.until >= since


class Mesh:
    """A pipeline that has always published, its streams and its clock."""

    def __init__(self, *streams: Stream) -> None:
        self.open = list(streams)
        self.now = 100.0
        self.state = MeshState("test")
        self.held = Held()
        self.programming = Programming(self, lambda: self.open, lambda: self.now)
        self.statuses = OwnStatuses(
            self.programming, quarantined=lambda _: (), rolling=lambda _: None, wall=lambda: NOW
        )

    async def settled(self) -> None:
        await asyncio.sleep(0)

    def put(self, *objects: ClusterObject, taken: bool = True) -> None:
        """`taken`: the mesh has taken what changed."""
        before = self.held
        self.held = before.with_changes({each.name: each for each in objects}, "cluster", KINDS)
        update = difference("cluster", before.documents, self.held.documents)
        if taken and update is not None:
            self.state, _ = self.state.apply(update)
        self.programming.applied([each.name for each in objects], self.held)

    def said(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By name of the object and type: its conditions."""
        return {
            found.key.name: {each["type"]: each for each in status["conditions"]}
            for found, status in self.statuses(self.state, self.held)
        }

    def waits(self) -> bool:
        return self.statuses.waiting

    def reasons(self) -> dict[str, tuple[str, str]]:
        return {
            name: (told["Accepted"]["reason"], told["Programmed"]["reason"])
            for name, told in self.said().items()
        }


def an_object(kind: str, name: str, spec: str, *, generation: int = 1, **more: Any) -> ClusterObject:
    metadata = {"name": name, "namespace": "default", "uid": f"{kind}-{name}", "generation": generation}
    read = {"apiVersion": "meshwright.dev/v1alpha1", "kind": kind, "metadata": metadata, **more}
    return kept(read | {"spec": yaml.safe_load(spec)})


@contextlib.asynccontextmanager
async def running(mesh: Mesh) -> AsyncIterator[None]:
    task = asyncio.create_task(mesh.programming.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(mesh: Mesh, **reasons: tuple[str, str]) -> None:
    async def there() -> bool:
        return mesh.reasons() == reasons

    await eventually(there, f"statuses {reasons}")


ALL = ("Accepted", "Programmed")


async def test_what_is_in_force_and_acknowledged() -> None:
    mesh = Mesh()
    async with running(mesh):
        mesh.put(an_object("Service", "api", SERVICE), an_object("RetryPolicy", "retry", RETRY, generation=4))
        await until(mesh, api=ALL, retry=ALL)
    told = mesh.said()["retry"]["Accepted"]
    assert (told["status"], told["observedGeneration"], told["lastTransitionTime"]) == (
        "True",
        4,
        "2026-01-31T12:00:00Z",
    )
    programmed = mesh.said()["retry"]["Programmed"]["message"]
    assert "to the leading replica" in programmed, "of the others' proxies nothing is known"


async def test_what_reaches_beyond_its_namespace_is_not_permitted() -> None:
    mesh = Mesh()
    own, elsewhere = "targetRefs: [{kind: Service, name: api}", "{kind: Service, name: api, namespace: shop}]"
    async with running(mesh):
        mesh.put(
            an_object("Service", "api", SERVICE),
            an_object("RetryPolicy", "retry", RETRY),
            an_object("RetryPolicy", "all", "targetRefs: [{kind: Mesh}]\nattempts: 3"),
        )
        await until(mesh, api=ALL, retry=ALL, all=("NotPermitted", "NotPermitted"))
        mesh.put(an_object("RetryPolicy", "retry", f"{own}, {elsewhere}\nattempts: 9", generation=2))
        await until(mesh, api=ALL, retry=("NotPermitted",) * 2, all=("NotPermitted",) * 2)
    told = mesh.said()
    assert told["all"]["Accepted"]["status"] == "False"
    assert told["all"]["Accepted"]["message"] == (
        "spec.targetRefs[0]: it reaches the whole mesh, and stands in namespace default. "
        "Put it into namespace meshwright-system, or target what is in namespace default"
    )
    retry = told["retry"]["Accepted"]["message"]
    assert retry.startswith("spec.targetRefs[1]: it reaches namespace shop, ")
    assert retry.endswith("(what it said before is in force)")
    assert [key.name for kind, key in mesh.state.declared if kind == "RetryPolicy"] == ["retry"]


async def test_what_is_in_vain_is_said() -> None:
    mesh = Mesh()
    async with running(mesh):
        mesh.put(
            an_object("RetryPolicy", "retry", RETRY),
            an_object("Workload", "vm", "address: 10.0.0.1\nservices: [db]"),
        )
        await until(
            mesh, retry=("PartlyWithoutEffect", "Programmed"), vm=("PartlyWithoutEffect", "Programmed")
        )
    assert "default/api" in mesh.said()["retry"]["Accepted"]["message"]
    assert (
        "spec.services[0]: there is no service default/db (yet)" in mesh.said()["vm"]["Accepted"]["message"]
    )


async def test_what_is_wrong_is_refused_and_what_was_right_is_kept() -> None:
    mesh = Mesh()
    async with running(mesh):
        mesh.put(an_object("Service", "api", SERVICE), an_object("RetryPolicy", "retry", RETRY))
        await until(mesh, api=ALL, retry=ALL)
        mesh.put(an_object("RetryPolicy", "retry", RETRY.replace("3", "-3"), generation=2))
        await until(mesh, api=ALL, retry=("Invalid", "Invalid"))
    message = mesh.said()["retry"]["Accepted"]["message"]
    assert message.startswith("spec.attempts: -3 is too small")
    assert message.endswith("(what it said before is in force)")


async def test_nothing_is_said_while_proxies_may_answer_in_a_moment() -> None:
    slow = Stream("default/web-1")
    mesh = Mesh(slow, Stream("default/web-2", until=1000.0))
    async with running(mesh):
        mesh.put(an_object("Service", "api", SERVICE))

        async def known() -> bool:
            return mesh.programming.behind(("Service", an_object("Service", "api", SERVICE).key)) == (
                "default/web-1",
            )

        await eventually(known, "who is waited for is known")
        assert mesh.said() == {}
        assert mesh.waits()
        mesh.now += own_statuses.PATIENCE + 1
        assert mesh.reasons() == {"api": ("Accepted", "Pending")}
        assert "default/web-1" in mesh.said()["api"]["Programmed"]["message"]
        assert not mesh.waits()
        slow.until = mesh.now
        await until(mesh, api=ALL)


async def test_a_proxy_that_goes_is_waited_for_no_more() -> None:
    mesh = Mesh(Stream("default/web-1"))
    async with running(mesh):
        mesh.put(an_object("Service", "api", SERVICE))
        mesh.open.clear()
        await until(mesh, api=ALL)


async def test_of_an_object_that_changes_again_only_the_last_change_is_kept() -> None:
    stuck = Stream("default/web-1")
    mesh = Mesh(stuck)
    async with running(mesh):
        for generation in range(1, 101):
            service = an_object("Service", "api", SERVICE, generation=generation)
            mesh.put(service, an_object("Service", f"db-{generation % 2}", SERVICE, generation=generation))
            await asyncio.sleep(0)
        assert mesh.programming.kept == 2, "the two last: of api and db-0, and of db-1"
        stuck.until = mesh.now
        await until(mesh, **{"api": ALL, "db-0": ALL, "db-1": ALL})
        assert mesh.programming.kept == 0


async def test_what_changes_again_is_waited_for_anew() -> None:
    """Who has answered to the change before has not therefore the last one."""
    stream = Stream("default/web-1")
    mesh = Mesh(stream)
    async with running(mesh):
        mesh.put(an_object("Service", "api", SERVICE), an_object("Service", "db", SERVICE))

        async def published() -> bool:
            return bool(mesh.programming.behind(("Service", an_object("Service", "db", SERVICE).key)))

        await eventually(published, "it is published")
        mesh.now += 1
        mesh.put(an_object("Service", "api", SERVICE, generation=2))
        stream.until = mesh.now - 1
        mesh.now += own_statuses.PATIENCE + 1
        await until(mesh, api=("Accepted", "Pending"), db=ALL)
        stream.until = mesh.now
        await until(mesh, api=ALL, db=ALL)


async def test_a_status_alone_is_nothing_to_wait_for() -> None:
    stream = Stream("default/web-1", until=1000.0)
    mesh = Mesh(stream)
    async with running(mesh):
        mesh.put(an_object("Service", "api", SERVICE))
        await until(mesh, api=ALL)
        stream.until = 0.0
        mesh.put(an_object("Service", "api", SERVICE, status={"observedGeneration": 1}))
        assert mesh.reasons() == {"api": ALL}


async def test_an_address_of_a_service_of_the_cluster_is_not_to_be_had() -> None:
    mesh = Mesh()
    api = replace(a_service("api", address="10.96.0.7"), key=Key("shop", "api"), reserved=("10.96.0.7",))
    mesh.state, _ = mesh.state.apply(SourceSnapshot("kubernetes", (api,)))
    async with running(mesh):
        mesh.put(
            an_object("Service", "hijack", f"{{address: 10.96.0.7, {SERVICE}}}"),
            an_object("Service", "web", SERVICE),
        )
        await until(mesh, hijack=("Conflicted", "Programmed"), web=ALL)
        told = mesh.said()["hijack"]["Accepted"]
        assert told["status"] == "False"
        assert "10.96.0.7 is an address that its cluster has given to Service shop/api" in told["message"]
        mesh.put(an_object("Service", "hijack", SERVICE, generation=2))
        await until(mesh, hijack=ALL, web=ALL)


def test_what_another_source_has_is_not_in_force() -> None:
    mesh = Mesh()
    mesh.held = Held().with_changes(
        {each.name: each for each in (an_object("Service", "api", SERVICE),)}, "cluster", KINDS
    )
    assert mesh.reasons() == {"api": ("Pending", "Pending")}
