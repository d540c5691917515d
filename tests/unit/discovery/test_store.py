"""The store as a source: what is in force follows its head, and who asks knows which revision that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from discovery.source import (
    SourceEvent,
    SourceFailed,
    SourceIncomplete,
    SourceRecovered,
    SourceReport,
)
from discovery.store import StoreSource
from documents.reading import Piece
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.names import Key
from store.backend import Head
from store.repository import Repository
from store.sets import StoreDocuments
from store.sqlite import SqliteBackend
from store.writes import Put
from tests.support.stores import a_body, a_repository, delete, put

PORTS: dict[str, Any] = {"ports": [{"name": "http", "port": 80, "protocol": "http"}]}
ROUTE: dict[str, Any] = {
    "parentRefs": [{"group": "", "kind": "Service", "name": "a"}],
    "rules": [{"backendRefs": [{"name": "a", "port": 80}]}],
}


def a_route(name: str, spec: dict[str, Any] = ROUTE) -> Put:
    body = {**a_body(name, spec, kind="HTTPRoute"), "apiVersion": "gateway.networking.k8s.io/v1"}
    return Put("HTTPRoute", Key("default", name), body)


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    backend = await SqliteBackend.open(tmp_path / "store.db", patience=0.1)
    yield a_repository(backend)
    await backend.close()


def a_source(repository: Repository) -> tuple[StoreSource, list[int]]:
    applied: list[int] = []
    return StoreSource("store", StoreDocuments(repository, retry=0.05), applied.append), applied


async def following(events: AsyncIterator[SourceEvent]) -> SourceEvent:
    async with asyncio.timeout(45):
        return await anext(events)


async def test_what_is_to_be_known_before_a_revision_is_asked_for_first(repository: Repository) -> None:
    source, _ = a_source(repository)
    asked = asyncio.Event()

    async def before() -> None:
        asked.set()

    source.before_each = before
    async with aclosing(source.events()) as events:
        await following(events)
        assert asked.is_set()


async def test_it_tells_all_and_then_each_revision(repository: Repository) -> None:
    await repository.commit([put("a", PORTS), a_route("r")], author="ada")
    source, applied = a_source(repository)
    async with aclosing(source.events()) as events:
        first = await following(events)
        assert isinstance(first, SourceSnapshot)
        assert [each.key.name for each in first.services] == ["a"]
        (route,) = first.declared
        assert route.value.origin == ("store#1 HTTPRoute default/r",)
        # Its text can be read again, and keeps the time by which the older of two policies wins.
        tree: Any = Piece(1, route.text.encode()).tree()
        assert tree["spec"] == ROUTE
        assert tree["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00+00:00"
        assert (source.applied_revision, applied) == (0, [])
        await repository.commit([put("b", PORTS), delete("r", kind="HTTPRoute")], author="ada")
        second = await following(events)
        assert isinstance(second, SourceUpdate)
        assert [each.key.name for each in second.services] == ["b"]
        assert second.removed_declared == (("HTTPRoute", Key("default", "r")),)
        assert applied == [1]
        await repository.rollback(1, author="ada")
        third = await following(events)
        assert isinstance(third, SourceUpdate)
        assert [each.name for each in third.removed_services] == ["b"]
        assert third.declared[0].value.origin == ("store#1 HTTPRoute default/r",)
        assert applied == [1, 2]


async def test_a_revision_without_effect_is_applied_too(repository: Repository) -> None:
    source, applied = a_source(repository)
    unknown = Put("Nonsense", Key("default", "a"), a_body("a", kind="Nonsense"))
    async with aclosing(source.events()) as events:
        assert await following(events) == SourceSnapshot("store")
        await repository.commit([unknown], author="ada")
        assert isinstance(await following(events), SourceReport)
        await repository.commit(
            [Put("Nonsense", unknown.key, a_body("a", {}, kind="Nonsense"))], author="ada"
        )
        await repository.commit([put("c", PORTS)], author="ada")
        assert isinstance(await following(events), SourceUpdate)
        assert applied == [0, 1, 2]


async def test_what_cannot_be_read_keeps_its_last_good_one_and_is_told(repository: Repository) -> None:
    await repository.commit([put("a", PORTS), put("b", PORTS)], author="ada")
    source, applied = a_source(repository)
    async with aclosing(source.events()) as events:
        await following(events)
        newer = {**a_body("a", PORTS), "apiVersion": "meshwright.dev/v9"}
        await repository.commit([Put("Service", Key("default", "a"), newer), put("c", PORTS)], author="ada")
        update, report = await following(events), await following(events)
        assert isinstance(update, SourceUpdate)
        assert [each.key.name for each in update.services] == ["c"]
        assert isinstance(report, SourceReport)
        assert report.errors == (
            "Service default/a, apiVersion: there is no Service of 'meshwright.dev/v9'. Use apiVersion: meshwright.dev/v1alpha1",
        )
    # After a restart, what it held before is known to the guard alone.
    source, applied = a_source(repository)
    async with aclosing(source.events()) as events:
        assert await following(events) == SourceIncomplete("store", frozenset({"Service default/a"}))
        snapshot = await following(events)
        assert isinstance(snapshot, SourceSnapshot)
        assert sorted(each.key.name for each in snapshot.services) == ["b", "c"]
        assert isinstance(await following(events), SourceReport)
        waiting = asyncio.create_task(following(events))
        await repository.commit([put("a", PORTS)], author="ada")
        assert await waiting == SourceIncomplete("store", frozenset())
        assert applied == [2]


async def test_a_store_that_cannot_be_read_is_told_and_asked_again(repository: Repository) -> None:
    await repository.commit([put("a", PORTS)], author="ada")
    source, applied = a_source(repository)
    async with aclosing(source.events()) as events:
        assert isinstance(await following(events), SourceSnapshot)
        # A head without its revision, as in a file that was restored in part.
        head, backend = await repository.backend.head(), repository.backend
        lost = Head(2, "f" * 64, 1)
        assert await backend.compare_and_set_head(head, lost, {2: lost.id})
        failed = await following(events)
        assert isinstance(failed, SourceFailed)
        assert "lacks blob" in failed.reason
        assert await backend.compare_and_set_head(lost, head, {})
        assert await following(events) == SourceRecovered("store")
        waiting = asyncio.create_task(following(events))
        await repository.commit([put("b", PORTS)], author="ada")
        assert isinstance(await waiting, SourceUpdate)
        assert applied == [1]
