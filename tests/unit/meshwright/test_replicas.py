"""Control planes over one store: who stops is not waited for, who goes without a word is; and words are made when there is news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.shapes.acknowledgements import Acknowledgements
from meshwright.acknowledged import Acknowledged
from meshwright.metrics import Metrics
from meshwright.replicas import BEAT, GONE, LEFT, LIFE, LOOK, PREFIX, Replicas
from store.sqlite import SqliteBackend
from tests.support.processes import eventually


class Mesh:
    """Nobody is connected, and everything is published at once."""

    now = 1000.0

    def streams(self) -> list[object]:
        return []

    async def settled(self) -> None:
        return

    def clock(self) -> float:
        return self.now


class Counted(Acknowledged):
    reports = 0

    def report(self, number: int) -> Acknowledgements:
        self.reports += 1
        return super().report(number)


@asynccontextmanager
async def running(mesh: Mesh, backend: SqliteBackend, name: str) -> AsyncIterator[tuple[Counted, Replicas]]:
    acknowledged = Counted(mesh, mesh, mesh.clock, Metrics(CollectorRegistry()))  # type: ignore[arg-type]
    replicas = Replicas(acknowledged, name, backend, mesh.clock)
    acknowledged.applied(1)
    tasks = [asyncio.create_task(acknowledged.run()), asyncio.create_task(replicas.run())]
    try:
        yield acknowledged, replicas
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("word", [True, False])
async def test_who_goes_without_a_word_is_waited_for_some_minutes(tmp_path: Path, word: bool) -> None:
    mesh = Mesh()
    backend = await SqliteBackend.open(tmp_path / "store.db", clock=mesh.clock)
    async with running(mesh, backend, "one") as (_, one):

        async def both() -> bool:
            found = await one.wait(1, 0)
            return (found.state, found.replicas) == ("acknowledged", 2)

        async with running(mesh, backend, "two"):
            await eventually(both, "each has said that it has the revision")
        if not word:  # as one that was killed
            await backend.withdraw(LEFT + "two")
        found = await one.wait(1, 0)
        assert found.silent == (() if word else ("two",))
        assert found.state == ("acknowledged" if word else "pending")
        mesh.now += GONE
        assert (await one.wait(1, 0)).silent == ()
        await one.wait(1, 0)
        assert await backend.published(LEFT) == {}
    await backend.close()


async def test_words_are_made_when_something_moved_or_at_a_beat(tmp_path: Path) -> None:
    mesh = Mesh()
    backend = await SqliteBackend.open(tmp_path / "store.db", clock=mesh.clock)
    async with running(mesh, backend, "one") as (acknowledged, _):

        async def said(revision: int) -> bool:
            words = (await backend.published(PREFIX)).get(PREFIX + "one", b"")
            return f'"revision":{revision},'.encode() in words

        await eventually(lambda: said(1), "it has said what it has")
        await asyncio.sleep(2 * LOOK)
        before = acknowledged.reports
        await asyncio.sleep(3 * LOOK)
        assert acknowledged.reports == before
        acknowledged.applied(2)
        await eventually(lambda: said(2), "it has said what is new")
        made = acknowledged.reports
        mesh.now += max(BEAT, LIFE / 2)

        async def again() -> bool:
            return acknowledged.reports > made

        await eventually(again, "it says again that it is there")
    await backend.close()
