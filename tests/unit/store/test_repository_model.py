"""Whatever is written, in whatever order: a repository is a list of dictionaries of documents."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.names import Key
from store.backend import Backend
from store.checking import check
from store.errors import Conflict
from store.housekeeping import collect
from store.portable import export, load
from store.sqlite import SqliteBackend
from store.writes import ABSENT, Delete, Put, Write
from tests.support.stores import a_body, a_repository, raw

NAMES = [f"s{number}" for number in range(90)]  # more than a leaf of the manifest holds
Model = dict[str, tuple[int, str]]
"""Name → what it says, and its version."""

writes = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=80
)
versions = st.sampled_from(["any", "any", "right", "stale", "absent"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), writes, versions),
        st.tuples(st.just("rollback"), st.integers(1, 20)),
        st.tuples(st.just("collect"), st.integers(2, 6)),
    ),
    max_size=12,
)


def wanted(model: Model, batch: dict[str, int | None], version: str) -> tuple[list[Write], bool]:
    """The writes of a batch, and whether they fit to what is there."""
    made: list[Write] = []
    fits = True
    for name, value in batch.items():
        key, held = Key("default", name), model.get(name)
        if value is None:
            given_version = held[1] if version == "right" and held else "0" if version == "stale" else None
            fits = fits and given_version in {None, held[1] if held else None}
            made.append(Delete("Service", key, given_version))
            continue
        said = {"any": None, "right": held[1] if held else ABSENT, "stale": "0", "absent": ABSENT}[version]
        fits = fits and (said is None or said == (held[1] if held else ABSENT))
        made.append(Put("Service", key, a_body(name, {"n": value}), said))
    return made, fits


class Checked:
    """A repository beside its model: `models[n]` is revision n."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.repository = a_repository(backend)
        self.models: list[Model] = [{}]
        self.oldest = 1

    async def commit(self, batch: dict[str, int | None], version: str) -> None:
        model, number = dict(self.models[-1]), len(self.models)
        made, fits = wanted(model, batch, version)
        try:
            revision = await self.repository.commit(made, author="ada")
        except Conflict:
            assert not fits
            return
        assert fits
        changed = set()
        for name, value in batch.items():
            held = model.get(name)
            if value is None and held is not None:
                del model[name]
                changed.add(name)
            elif value is not None and (held is None or held[0] != value):
                model[name] = value, str(number)
                changed.add(name)
        self._moved(model, revision.number)
        assert {each.key.name for each in revision.changes} == changed

    async def rollback(self, to: int) -> None:
        to = min(to, len(self.models) - 1)
        if to < self.oldest:
            return
        revision = await self.repository.rollback(to, author="ada")
        self._moved(dict(self.models[to]), revision.number)

    def _moved(self, model: Model, number: int) -> None:
        if model != self.models[-1]:
            self.models.append(model)
        assert number == len(self.models) - 1

    async def collect(self, keep: int) -> None:
        await collect(self.repository, keep, grace=-60)
        self.oldest = max(self.oldest, len(self.models) - keep)

    async def agrees(self) -> None:
        for repository in (self.repository, a_repository(self.backend)):
            for number in range(self.oldest, len(self.models)):
                found = await repository.list(at=number)
                read = {each.key.name: (each.body["spec"], each.resource_version) for each in found}
                assert read == {
                    name: ({"n": n}, version) for name, (n, version) in self.models[number].items()
                }
                assert [each.key for each in found] == sorted(each.key for each in found)
            if len(self.models) - 2 >= self.oldest:
                await self._differ(len(self.models) - 2, len(self.models) - 1)

    async def _differ(self, a: int, b: int) -> None:
        old, new = self.models[a], self.models[b]
        found = {each.key.name for each in await self.repository.diff(a, b)}
        assert found == {name for name in {*old, *new} if old.get(name) != new.get(name)}

    async def moves(self, to: Backend) -> None:
        await load(to, export(self.repository))
        moved = a_repository(to)
        assert await raw(moved) == await raw(self.repository)
        assert await moved.history() == await self.repository.history()
        assert await check(moved) == await check(self.repository)


@settings(max_examples=40)
@given(steps)
def test_it_is_a_list_of_dictionaries(given_steps: list[tuple[object, ...]]) -> None:
    async def run(folder: Path) -> None:
        backend, other = [await SqliteBackend.open(folder / name) for name in ("a.db", "b.db")]
        try:
            checked = Checked(backend)
            for name, *arguments in given_steps:
                await getattr(checked, str(name))(*arguments)
            await checked.agrees()
            await checked.moves(other)
        finally:
            await backend.close()
            await other.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
