"""A store moves from SQLite to Consul and back without loss, and a stream that was changed on the way is refused whole."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from discovery.consul_options import ConsulOptions
from meshwright.cli import app
from store.backend import NOTHING, Backend
from store.checking import check
from store.codec import digest
from store.consul_kv import ConsulBackend
from store.errors import BadStream, StoreCorrupt
from store.housekeeping import collect
from store.portable import export, load
from store.repository import Repository
from store.sqlite import SqliteBackend
from tests.support.consul_agent import consul_agent
from tests.support.stores import a_repository, delete, put, raw


async def written(backend: Backend) -> Repository:
    """A store with every kind of revision."""
    repository = a_repository(backend)
    await repository.commit([put(f"s{number}") for number in range(200)], author="ada", reason="many")
    for number in range(20):
        await repository.commit(
            [put(f"s{number}", {"n": number / 3, "ü": "🦆"}), delete(f"s{199 - number}")], author="bob"
        )
    await repository.rollback(7, author="eve")
    await repository.commit([delete(f"s{number}") for number in range(200)], author="ada")
    await repository.commit([put("last")], author="ada")
    return repository


async def a_store(path: Path) -> SqliteBackend:
    return await SqliteBackend.open(path)


async def lines_of(repository: Repository) -> list[bytes]:
    return [line async for line in export(repository)]


async def as_stream(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


async def test_from_sqlite_to_consul_and_back(tmp_path: Path) -> None:
    async with consul_agent() as agent:
        here = await a_store(tmp_path / "here.db")
        there = await ConsulBackend.open(ConsulOptions(address=agent.url), f"test/{uuid.uuid4()}")
        again = await a_store(tmp_path / "again.db")
        try:
            repository = await written(here)
            moved, back = a_repository(there), a_repository(again)
            assert (await load(there, export(repository))).revisions == 24
            assert (await load(again, export(moved))).revisions == 24
            for each in (moved, back):
                assert await each.history() == await repository.history()
                assert await check(each) == await check(repository)
                assert await raw(each) == await raw(repository)
                assert await lines_of(each) == await lines_of(repository)
                for number in (1, 9, 22):
                    assert await each.list(at=number) == await repository.list(at=number)
            # It goes on there, and what came since goes the same way.
            await moved.rollback(5, author="ada")
            await moved.commit([put("new")], author="ada")
            assert (await load(here, export(moved))).revisions == 2
            assert await a_repository(here).history() == await moved.history()
            assert (await load(here, export(moved))).revisions == 0
        finally:
            for backend in (here, there, again):
                await backend.close()


async def test_after_old_revisions_were_dropped(tmp_path: Path) -> None:
    old, new = await a_store(tmp_path / "old.db"), await a_store(tmp_path / "new.db")
    repository = await written(old)
    await collect(repository, keep=4, grace=-60)
    await load(new, export(repository))
    moved = a_repository(new)
    assert [each.number for each in await moved.history()] == [24, 23, 22, 21]
    assert await check(moved) == await check(repository)
    await old.close()
    await new.close()


async def test_a_stream_that_is_not_whole_or_not_itself_changes_nothing(tmp_path: Path) -> None:
    old, new = await a_store(tmp_path / "old.db"), await a_store(tmp_path / "new.db")
    lines = await lines_of(await written(old))
    first, *between, last = lines
    forged = [line.replace(b'"author":"bob"', b'"author":"eve"') for line in lines]
    wrong: list[tuple[str, list[bytes]]] = [
        ("is empty", []),
        ("no export of a store", [b"{}\n"]),
        ("no export of a store", lines[1:]),
        ("in the middle", lines[:-1]),
        ("in the middle", lines[: len(lines) // 2]),
        ("damaged", [*lines[:-2], lines[-2][: len(lines[-2]) // 2]]),
        ("another hash", forged),
        ("did not come before", [first, *between[5:], last]),
        ("out of order", [first, *reversed(between), last]),
        ("are announced", [first, *between[:-1], last]),
        ("more after the end", [*lines, b'{"end":0}\n']),
        ("has version 2", [first.replace(b'"meshwright-store":1', b'"meshwright-store":2'), *between, last]),
        ("not have the revision that it begins with", [first, json.dumps({"end": 0}).encode()]),
        ("is not known", [first, b'{"what":"%s","json":1}' % digest(b"1").encode(), last]),
    ]
    for said, given in wrong:
        with pytest.raises(BadStream, match=said):
            await load(new, as_stream(given))
        assert await new.head() == NOTHING
    await load(new, as_stream(lines))
    assert await lines_of(a_repository(new)) == lines
    # A store with a history of its own is not overwritten.
    other = await a_store(tmp_path / "other.db")
    await a_repository(other).commit([put("mine")], author="me")
    with pytest.raises(BadStream, match="load it into an empty store"):
        await load(other, as_stream(lines))
    for backend in (old, new, other):
        await backend.close()


async def test_damage_is_found(tmp_path: Path) -> None:
    backend = await a_store(tmp_path / "store.db")
    repository = await written(backend)
    revision = await repository.revision(10)
    await backend.put({"0" * 64: b"unrelated"})
    await check(a_repository(backend))
    blob = next(each.blob for each in revision.changes if each.blob is not None)
    await backend.close()
    run = tmp_path / "damage.py"
    run.write_text(
        "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n"
        "db.execute('UPDATE blobs SET data = ? WHERE name = ?', (b'{}', sys.argv[2]))\ndb.commit()\n"
    )
    subprocess.run(["python3", str(run), str(tmp_path / "store.db"), blob], check=True)
    backend = await a_store(tmp_path / "store.db")
    with pytest.raises(StoreCorrupt, match=f"blob {blob} of the store is damaged"):
        await check(a_repository(backend))
    # What does not need it goes on.
    assert [each.key.name for each in await a_repository(backend).list()] == ["last"]
    await backend.close()


async def test_the_commands(tmp_path: Path) -> None:
    backend = await a_store(tmp_path / "store.db")
    repository = await written(backend)

    async def run(*options: str, code: int = 0) -> str:
        command = ["store", *options, "--data-dir", str(tmp_path)]
        done = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert done.exit_code == code, done.output
        return str(done.output) + str(done.exception or "")

    assert f"sqlite:{tmp_path}/store.db is whole: 1 documents, 24 revisions" in await run("check")
    assert "saved revision 24" in await run("export", str(tmp_path / "saved.jsonl"))
    assert (tmp_path / "saved.jsonl").stat().st_mode & 0o777 == 0o600
    assert "is there already" in await run("export", str(tmp_path / "saved.jsonl"), code=1)
    assert (tmp_path / "saved.jsonl").read_bytes() == b"".join(await lines_of(repository))
    assert (await run("export", "-")).startswith('{"head"')
    one, two = f"sqlite:{tmp_path}/one.db", f"sqlite:{tmp_path}/two.db"
    assert "is at revision 24: 24 revisions are new" in await run(
        "import", str(tmp_path / "saved.jsonl"), "--store", one
    )
    assert "is at revision 24: 24 revisions are new" in await run("copy", "--from", "sqlite", "--to", two)
    assert "is at revision 24: 0 revisions are new" in await run("copy", "--from", one, "--to", two)
    assert "removed 23 revisions and 0 blobs" in await run("collect", "--keep", "1", "--store", one)
    assert "there is no store" in await run("check", "--store", f"sqlite:{tmp_path}/none.db", code=1)
    assert "is not known" in await run("check", "--store", "redis://here", code=1)
    await backend.close()
