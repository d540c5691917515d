"""A store that lost what it held, or is another one, is not followed and not written to, until somebody says that it is meant."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from store.backend import Head
from store.errors import StoreReplaced
from store.followed import Followed, Seen, adopt
from store.repository import Repository
from store.sets import StoreDocuments
from store.sqlite import SqliteBackend
from tests.support.stores import put


async def opened(folder: Path, followed: Path) -> Repository:
    return Repository(await SqliteBackend.open(folder / "store.db"), followed=Followed(followed))


async def read(repository: Repository) -> tuple[str, int]:
    """The failure, and how many documents there are."""
    async with asyncio.timeout(45), aclosing(StoreDocuments(repository, retry=0.01).watch()) as sets:
        documents, _ = await anext(sets)
        return documents.failure or "", len(documents.files)


async def test_an_emptied_store_is_not_followed_until_it_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    kept = tmp_path / "head.json"
    first = await opened(tmp_path / "old", kept)
    await first.commit([put("a")], author="ada")
    revision = await first.commit([put("b")], author="ada")
    await first.followed.save()
    await first.backend.close()

    second = await opened(tmp_path / "new", kept)
    failure, documents = await read(second)
    assert f"(revision 0, was 2 {revision.id[:12]})" in failure
    assert "meshwright store adopt" in failure
    assert documents == 0
    with pytest.raises(StoreReplaced, match="nothing is written"):
        await second.commit([put("c")], author="ada")
    # While it runs.
    adopt(kept, await second.backend.head())
    await second.commit([put("c")], author="ada")
    assert [each.key.name for each in await second.list()] == ["c"]
    await second.backend.close()


async def test_another_history_with_the_same_or_a_greater_number_is_not_followed(tmp_path: Path) -> None:
    backend = await SqliteBackend.open(tmp_path / "store.db")
    repository = Repository(backend)
    one = await repository.commit([put("a")], author="ada")
    two = await repository.commit([put("b")], author="ada")
    other = Repository(backend, followed=Followed())
    other.followed.follow(two)
    await other.grown(two)
    await other.grown(one)  # Read before `two` was written.
    for number in (1, 2):
        kept = tmp_path / f"{number}.json"
        adopt(kept, Head(number, "f" * 64, 1))
        assert Followed(kept).seen == Seen(number, "f" * 64)
        with pytest.raises(StoreReplaced, match="is another store"):
            await Repository(backend, followed=Followed(kept)).grown(two)
    await backend.close()


async def test_what_is_followed_is_kept_and_only_grows(tmp_path: Path) -> None:
    backend = await SqliteBackend.open(tmp_path / "store.db")
    kept = tmp_path / "head.json"
    repository = Repository(backend, followed=Followed(kept))
    for name in ("a", "b"):
        await repository.commit([put(name)], author="ada")
    head = await repository.head()
    async with asyncio.timeout(45), aclosing(StoreDocuments(repository).watch()) as sets:
        await anext(sets)
        following = asyncio.ensure_future(anext(sets))  # Asks for the next: what was yielded was taken.
        await repository.commit([put("c")], author="ada")
        await following
    assert Followed(kept).seen in {Seen(head.number, head.id), Seen(3, (await repository.head()).id)}
    kept.write_text("damaged")
    assert Followed(kept).seen is None
    await backend.close()
