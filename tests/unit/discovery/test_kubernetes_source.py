"""What the source says of what its reflectors tell, without a server; tests/kubernetes/ has it with one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from discovery.kubernetes import _KINDS, OFF_LOOP, KubernetesSource, _Reader, _Told
from discovery.kubernetes_catalog import Catalog
from discovery.source import SourceEvent, SourceFailed, SourceRecovered, SourceReport
from kube.access import ClusterOptions
from kube.client import Cluster
from kube.following import Cause, Changed, Event, Failed, Gone, Recovered, Replaced
from kube.resource import Object, ObjectName, name_of
from mesh.events import SourceSnapshot, SourceUpdate
from tests.support.kubernetes.values import a_pod, a_service, a_slice, an_endpoint

KINDS = {kind.resource.plural: kind for kind in _KINDS}


def a_source(*namespaces: str) -> KubernetesSource:
    def opened() -> Cluster:
        return Cluster(ClusterOptions(kubeconfig="/nowhere"), clock=time.monotonic)

    return KubernetesSource(
        "kubernetes", opened, namespaces=namespaces, clock=time.monotonic, random=random.random
    )


def a_reader(*namespaces: str) -> _Reader:
    return _Reader("kubernetes", a_source(*namespaces)._standing())


def listed(kind: str, *objects: Object) -> Sequence[Event[Any]]:
    values = {name_of(each): KINDS[kind].keep(each) for each in objects}
    return [Replaced(values, tuple(values), {})]


def changed(kind: str, value: Object) -> Sequence[Event[Any]]:
    return [Changed(name_of(value), KINDS[kind].keep(value), None)]


async def take(
    reader: _Reader, kind: str, events: Sequence[Event[Any]], namespace: str = ""
) -> list[SourceEvent]:
    return await reader.take(_Told(KINDS[kind], namespace, events))


async def started(reader: _Reader, *pods: Object) -> None:
    endpoints = [an_endpoint(each["status"]["podIP"], each["metadata"]["name"]) for each in pods]
    await take(reader, "namespaces", listed("namespaces"))
    await take(reader, "services", listed("services", a_service()))
    await take(reader, "endpointslices", listed("endpointslices", a_slice("api-x", *endpoints)))
    await take(reader, "pods", listed("pods", *pods))
    (snapshot,) = await take(reader, "nodes", listed("nodes"))
    assert isinstance(snapshot, SourceSnapshot)
    assert len(snapshot.workloads) == len(pods)


async def test_nothing_is_told_before_all_was_listed() -> None:
    await started(a_reader(), a_pod("api-1"))


async def test_each_namespace_is_waited_for() -> None:
    reader = a_reader("shop", "bank")
    await take(reader, "nodes", listed("nodes"))
    await take(reader, "namespaces", listed("namespaces"))
    for kind in ("services", "endpointslices", "pods"):
        assert await take(reader, kind, listed(kind), "shop") == []
    for kind in ("services", "endpointslices"):
        assert await take(reader, kind, listed(kind), "bank") == []
    assert await take(reader, "pods", listed("pods"), "bank") == [SourceSnapshot("kubernetes")]


async def test_nodes_and_namespaces_that_cannot_be_read_are_missing_and_hold_up_nothing() -> None:
    reader = a_reader()
    for kind in ("services", "endpointslices", "pods"):
        assert await take(reader, kind, listed(kind)) == []
    (report,) = await take(reader, "nodes", [Failed("403", Cause.FORBIDDEN)])
    assert report == SourceReport("kubernetes", warnings=("403: localities are missing until then",))
    snapshot, report = await take(reader, "namespaces", [Failed("403 too", Cause.FORBIDDEN)])
    assert isinstance(snapshot, SourceSnapshot)
    assert isinstance(report, SourceReport)
    assert len(report.warnings) == 2
    told = await take(reader, "nodes", [Recovered(), *listed("nodes")])
    assert told == [
        SourceReport("kubernetes", warnings=("403 too: labels of namespaces are missing until then",))
    ]


async def test_a_failure_that_passes_is_waited_for_even_of_what_is_not_needed() -> None:
    """A snapshot without the labels of namespaces would take away routes that are admitted by them."""
    reader = a_reader()
    (report,) = await take(reader, "namespaces", [Failed("429: too many requests")])
    assert isinstance(report, SourceReport)
    for kind in ("services", "endpointslices", "pods", "nodes"):
        assert await take(reader, kind, listed(kind)) == []
    found = {"metadata": {"name": "shop", "labels": {"team": "a"}}}
    snapshot, report = await take(reader, "namespaces", [Recovered(), *listed("namespaces", found)])
    assert isinstance(snapshot, SourceSnapshot)
    assert [each.name[1].name for each in snapshot.declared] == ["shop"]
    assert report == SourceReport("kubernetes")


async def test_a_list_of_many_objects_is_put_together_off_the_event_loop() -> None:
    reader = a_reader()
    where: set[int] = set()
    kind = KINDS["pods"]

    def put(catalog: Catalog, name: ObjectName, found: Any) -> None:
        where.add(threading.get_ident())
        kind.put(catalog, name, found)

    noted = replace(kind, put=put)
    pods = listed("pods", *(a_pod(f"api-{n}", f"10.1.0.{n}") for n in range(OFF_LOOP)))
    await reader.take(_Told(noted, "", pods))
    assert where
    assert threading.get_ident() not in where
    where.clear()
    await reader.take(_Told(noted, "", changed("pods", a_pod("api-1"))))
    assert where == {threading.get_ident()}, "a thread costs more than one object does"


async def test_it_fails_while_anything_needed_fails_and_recovers_when_nothing_does() -> None:
    reader = a_reader()
    await started(reader, a_pod("api-1"))
    assert await take(reader, "pods", [Failed("away")]) == [SourceFailed("kubernetes", "away")]
    assert await take(reader, "services", [Failed("away, too")]) == []
    assert await take(reader, "pods", [Recovered()]) == [SourceFailed("kubernetes", "away, too")]
    assert await take(reader, "services", [Recovered()]) == [SourceRecovered("kubernetes")]


async def test_a_watch_is_believed_and_a_list_is_for_the_guard_to_judge() -> None:
    reader = a_reader()
    pod = a_pod("api-1")
    await started(reader, pod)
    (update,) = await take(reader, "endpointslices", changed("endpointslices", a_slice("api-x")))
    assert isinstance(update, SourceUpdate)
    assert update.certain
    (update,) = await take(reader, "pods", [Replaced({}, (), {name_of(pod): KINDS["pods"].keep(pod)})])
    assert isinstance(update, SourceUpdate)
    assert update.removed_workloads
    assert not update.certain


async def test_what_came_together_is_told_together() -> None:
    reader = a_reader()
    pods = [a_pod(f"api-{n}", f"10.1.0.{n}") for n in range(3)]
    await started(reader, *pods)
    (update,) = await take(reader, "pods", [Gone(name_of(each), KINDS["pods"].keep(each)) for each in pods])
    assert isinstance(update, SourceUpdate)
    assert len(update.removed_workloads) == 3


async def test_a_kubeconfig_that_is_not_there_is_told_and_waited_for(tmp_path: Path) -> None:
    events = a_source().events()
    first = await anext(events)
    assert isinstance(first, SourceFailed)
    assert "/nowhere" in first.reason
    assert "check that the file is there" in first.reason
    await events.aclose()  # type: ignore[attr-defined]
