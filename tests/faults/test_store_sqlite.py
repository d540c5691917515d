"""The embedded store when its process is killed, its disk is full, or another program holds or damages its file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.checking import check
from store.errors import StoreCorrupt, StoreFull, StoreLocked, StoreUnavailable
from store.sqlite import SqliteBackend, copy_of
from tests.faults.store_writer import SIZE
from tests.support import binaries
from tests.support.stores import a_repository, put, raw

WRITER = Path(__file__).with_name("store_writer.py")


@pytest.mark.parametrize("writes", [200, pytest.param(1000, marks=pytest.mark.heavy)])
async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_nothing_half(
    tmp_path: Path, writes: int
) -> None:
    path, chance = tmp_path / "store.db", random.Random(writes)
    acknowledged: list[int] = []
    kills = 0
    while len(acknowledged) < writes:
        first = max(acknowledged, default=-1) + 1
        # SIGKILL somewhere within the write after some acknowledged ones.
        after, delay = chance.randrange(1, 2 * writes // 10), chance.random() * 0.004
        said = await _killed(path, first, writes, after, delay)
        acknowledged += said
        kills += 1
        backend = await SqliteBackend.open(path)
        repository = a_repository(backend)
        names = {each.key.name for each in await repository.list()}
        batches = {int(name.split("-")[1]) for name in names if name != "shared"}
        # At most the one write that was under way is there without having been acknowledged.
        assert batches - set(acknowledged) <= {first + len(said)}
        assert set(acknowledged) <= batches
        assert names == {"shared", *(f"batch-{each}-{part}" for each in batches for part in range(SIZE))}
        assert [each.reason for each in reversed(await repository.history(limit=10_000))] == [
            f"batch {each}" for each in sorted(batches)
        ]
        acknowledged = sorted(batches)
        await backend.close()
    assert kills >= 5
    backend = await SqliteBackend.open(path)
    await backend.check()
    assert (await check(a_repository(backend))).revisions == len(acknowledged)
    await backend.close()


async def _killed(path: Path, first: int, count: int, after: int, delay: float) -> list[int]:
    """The batches that a writer said were acknowledged before it was killed, `delay` seconds after `after` of them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(path), str(first), str(count),
        stdout=subprocess.PIPE, cwd=binaries.ROOT, env={**os.environ, "PYTHONPATH": str(binaries.ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    said: list[int] = []
    try:
        while len(said) < min(after, count):
            said += [int(await process.stdout.readline())]
        await asyncio.sleep(delay)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    rest = await process.stdout.read()
    # A line that the kill cut off was acknowledged, too.
    return said + [int(line) for line in rest.split() if line]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_is_told_and_loses_nothing(small_disk: Path) -> None:
    backend = await SqliteBackend.open(small_disk / "store.db")
    repository = a_repository(backend)
    text, number = os.urandom(4096).hex(), 0

    async def fill() -> None:
        nonlocal number
        for number in range(1000):
            await repository.commit([put(f"s{number}", {"text": text, "n": number})], author="ada")

    with pytest.raises(StoreFull, match=r"there is no room .*; nothing was written. Make room on its disk"):
        await fill()
    before = await raw(repository)
    assert len(before) == number > 10
    for attempt in range(5):
        with pytest.raises(StoreFull):
            await repository.commit([put("more", {"text": text * 20, "n": attempt})], author="ada")
    assert await raw(a_repository(backend)) == before
    assert (await check(a_repository(backend))).revisions == number
    # With room again, it goes on, with the same connection and with another.
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    await repository.commit([put("more", {"text": text * 20})], author="ada")
    await backend.close()
    backend = await SqliteBackend.open(small_disk / "store.db")
    assert (await a_repository(backend).head()).number == number + 1
    await backend.check()
    await backend.close()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


async def test_a_locked_file_is_told_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    backend = await SqliteBackend.open(path, patience=0.2)
    repository = a_repository(backend)
    await repository.commit([put("first")], author="ada")
    with _locked(path):
        with pytest.raises(StoreLocked, match=r"locked by another process; nothing was written.*fuser"):
            await repository.commit([put("second")], author="ada")
        assert [each.key.name for each in await repository.list()] == ["first"]  # Readers are not concerned.
    await repository.commit([put("second")], author="ada")
    patient = await SqliteBackend.open(path, patience=30)
    with _locked(path):
        waiting = asyncio.create_task(a_repository(patient).commit([put("third")], author="ada"))
        assert [each.key.name for each in await repository.list()] == ["first", "second"]
        assert not waiting.done()
    assert (await waiting).number == 3
    await backend.close()
    await patient.close()


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database at all, but long enough to be one " * 100)
    with pytest.raises(
        StoreCorrupt, match=r"is damaged or no database.*store.db-shm aside.*meshwright store import"
    ):
        await SqliteBackend.open(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.commit()
    with pytest.raises(StoreCorrupt, match="database of another program"):
        await SqliteBackend.open(path)
    path.unlink()
    backend = await SqliteBackend.open(path)
    await a_repository(backend).commit([put(f"s{number}") for number in range(500)], author="ada")
    await backend.close()
    data = bytearray(path.read_bytes())
    data[8192 : len(data) // 2] = os.urandom(len(data) // 2 - 8192)
    path.write_bytes(data)
    backend = await SqliteBackend.open(path)
    with pytest.raises(StoreCorrupt):
        await check(a_repository(backend))
    with pytest.raises(StoreCorrupt):
        await backend.check()
    await backend.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_removed_in_use_acknowledges_nothing(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "store.db"
    backend = await SqliteBackend.open(path)
    repository = a_repository(backend)
    await repository.commit([put("first")], author="ada")
    aside = path.rename(tmp_path / "aside.db")
    if replaced:
        await (await SqliteBackend.open(path)).close()
    with pytest.raises(StoreCorrupt, match="removed or replaced while it was in use: stop writing"):
        await repository.commit([put("second")], author="ada")
    with pytest.raises(StoreCorrupt, match="removed or replaced"):
        await backend.head()
    assert path.exists() is replaced
    if not replaced:
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            copy_of(path)
        assert not path.exists()
        aside.rename(path)
        assert (await repository.commit([put("second")], author="ada")).number == 2
    await backend.close()


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await (await SqliteBackend.open(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreCorrupt, match=r"made by a newer Meshwright \(format 2\)"):
        await SqliteBackend.open(path)


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="Check that its directory is there"):
        await SqliteBackend.open(tmp_path / "none" / "store.db")
    with pytest.raises(StoreUnavailable):
        await SqliteBackend.open(tmp_path)


async def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(0o644)
    backend = await SqliteBackend.open(path)
    await a_repository(backend).commit([put("first")], author="ada")
    async with backend.lock("job"):
        files = sorted(each.name for each in tmp_path.iterdir())
        assert files == [".store.db.job.lock", "store.db", "store.db-shm", "store.db-wal"]
        assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    await backend.close()


async def test_what_is_acknowledged_is_on_the_disk(tmp_path: Path) -> None:
    """`synchronous` and the journal's mode are what SQLite documents as surviving a loss of power."""
    backend = await SqliteBackend.open(tmp_path / "store.db")
    for connection in (backend._reader, backend._writer):
        modes = await connection.run(
            lambda db: (
                db.execute("PRAGMA synchronous").fetchone(),
                db.execute("PRAGMA journal_mode").fetchone(),
            )
        )
        assert modes == ((2,), ("wal",))
    await backend.close()


async def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    backend = await SqliteBackend.open(tmp_path / "store.db")
    script = (
        "import asyncio, pathlib, sys\nfrom store.file_lock import file_lock\n"
        "async def main():\n"
        "    async with file_lock(pathlib.Path(sys.argv[1])):\n        print('held', flush=True)\n        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / ".store.db.job.lock"),
        stdout=subprocess.PIPE, cwd=binaries.ROOT, env={**os.environ, "PYTHONPATH": str(binaries.ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"

    async def hold() -> None:
        async with backend.lock("job"):
            pass

    waiting = asyncio.create_task(hold())
    await asyncio.sleep(0)
    process.kill()
    await process.wait()
    async with asyncio.timeout(45):
        await waiting
    await backend.close()
