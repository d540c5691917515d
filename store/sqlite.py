"""The embedded store: one SQLite file, for one control plane.

In WAL mode with `synchronous=FULL`, so that what was acknowledged survives a loss of power (https://sqlite.org/pragma.html#pragma_synchronous).
Reads and writes have a connection and a thread each, so that a read never waits for the disk to take a write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from store.backend import NOTHING, Backend, Head, Lock
from store.errors import OutcomeUnknown, StoreCorrupt, StoreUnavailable
from store.file_lock import file_lock
from store.sqlite_errors import is_lost, told

T = TypeVar("T")
APPLICATION = 0x4D657368  # "Mesh"
FORMAT = 1
POLL = 1.0
"""Seconds between looks at the head. Writes of this process are told of at once; this is for other processes."""
AT_ONCE = 500
"""Names in one query; SQLite allows 32,766."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS blobs (name TEXT NOT NULL UNIQUE, data BLOB NOT NULL, put_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, id TEXT NOT NULL, oldest INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS revisions (number INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS published (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""
PUT = "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET put_at = excluded.put_at"


class SqliteBackend:
    """See `store.backend.Backend`. `patience` is how long, in seconds, another process's lock is waited for."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, patience: float = 5.0) -> None:
        self._path = path
        self._clock = clock
        self._patience = patience
        file = _File(path)
        self._file = file
        self._writer = _Connection(file, patience)
        self._reader = _Connection(file, patience)
        self._moved: set[asyncio.Event] = set()

    @property
    def where(self) -> str:
        return f"sqlite:{self._path}"

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], float] = time.time, patience: float = 5.0) -> Self:
        """Make the file (0600) if it is missing. Raises StoreUnavailable, StoreCorrupt, StoreLocked, StoreFull."""
        backend = cls(path, clock=clock, patience=patience)
        try:
            await asyncio.to_thread(backend._file.open)
            await backend._writer.run(lambda db: _prepare(db, path))
        except BaseException:
            await backend.close()
            raise
        return backend

    @classmethod
    def broken(cls, path: Path, error: StoreCorrupt) -> Self:
        """One that cannot be used: all that is asked of it raises `error`."""
        backend = cls(path)
        backend._file.broken = error
        return backend

    async def put(self, blobs: Mapping[str, bytes]) -> None:
        now = self._clock()

        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.executemany(PUT, ((name, data, now) for name, data in blobs.items()))

        await self._writer.run(work)

    async def get(self, names: Iterable[str]) -> dict[str, bytes]:
        wanted = list(names)

        def work(db: sqlite3.Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(db.execute(f"SELECT name, data FROM blobs WHERE name IN ({marks})", some))  # noqa: S608
            return found

        return await self._reader.run(work)

    async def head(self) -> Head:
        return await self._reader.run(_head)

    async def compare_and_set_head(self, expected: Head, new: Head, ids: Mapping[int, str]) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            try:
                with _transaction(db):
                    if _head(db) != expected:
                        return False
                    db.execute(
                        "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (new.number, new.id, new.oldest)
                    )
                    db.executemany("INSERT OR REPLACE INTO revisions VALUES (?, ?)", ids.items())
            except sqlite3.Error as error:
                # Whatever else goes wrong, SQLite has rolled back. After the disk failed, only looking can tell.
                if is_lost(error) and _look(self._path) != expected:
                    raise OutcomeUnknown(
                        f"{self.where}: the disk failed while revision {new.number} was written ({error}); it may be there or not: "
                        "check the disk, then look at the history",
                        new.number,
                        new.id,
                    ) from error
                raise
            return True

        done = await self._writer.run(work)
        if done:
            for event in self._moved:
                event.set()
        return done

    async def ids(self, numbers: Iterable[int]) -> dict[int, str]:
        wanted = list(numbers)

        def work(db: sqlite3.Connection) -> dict[int, str]:
            found: dict[int, str] = {}
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(
                    db.execute(f"SELECT number, id FROM revisions WHERE number IN ({marks})", some)  # noqa: S608
                )
            return found

        return await self._reader.run(work)

    async def heads(self, after: Head) -> AsyncGenerator[Head, None]:
        moved = asyncio.Event()
        self._moved.add(moved)
        try:
            while True:
                moved.clear()
                head = await self.head()
                if head != after:
                    yield head
                    after = head
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), POLL)
        finally:
            self._moved.discard(moved)

    @contextlib.asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[Lock]:
        async with file_lock(self._path.with_name(f".{self._path.name}.{name}.lock")) as lock:
            yield lock

    async def publish(self, key: str, value: bytes, ttl: float | None = None) -> None:
        expires = None if ttl is None else self._clock() + ttl

        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.execute("INSERT OR REPLACE INTO published VALUES (?, ?, ?)", (key, value, expires))
                db.execute("DELETE FROM published WHERE expires < ?", (self._clock(),))

        await self._writer.run(work)

    async def published(self, prefix: str) -> dict[str, bytes]:
        now = self._clock()

        def work(db: sqlite3.Connection) -> dict[str, bytes]:
            said = db.execute(
                "SELECT key, value FROM published WHERE substr(key, 1, ?) = ? AND (expires IS NULL OR expires >= ?)",
                (len(prefix), prefix, now),
            )
            return dict(said)

        return await self._reader.run(work)

    async def withdraw(self, key: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.execute("DELETE FROM published WHERE key = ?", (key,))

        await self._writer.run(work)

    async def sweep(self, keep: AbstractSet[str], older: float) -> int:
        before = self._clock() - older

        def work(db: sqlite3.Connection) -> int:
            db.execute("CREATE TEMP TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY)")
            with _transaction(db):
                db.execute("DELETE FROM kept")
                db.executemany("INSERT INTO kept VALUES (?)", ((name,) for name in keep))
                gone = db.execute(
                    "DELETE FROM blobs WHERE put_at <= ? AND name NOT IN (SELECT name FROM kept)", (before,)
                )
                count = gone.rowcount
                db.execute("DELETE FROM kept")
            return count

        return await self._writer.run(work)

    async def forget(self, below: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.execute("DELETE FROM revisions WHERE number < ?", (below,))

        await self._writer.run(work)

    async def check(self) -> None:
        """Raises StoreCorrupt if the file as such is damaged."""

        def work(db: sqlite3.Connection) -> None:
            ((said,),) = db.execute("PRAGMA integrity_check(1)")
            if said != "ok":
                raise StoreCorrupt(f"{self.where} is damaged ({said}): restore it from a backup")

        await self._reader.run(work)

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()


def _implements(backend: SqliteBackend) -> Backend:
    return backend


class _File:
    """Which file the store is in: the one that was there when it was opened, not another one of that name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken: StoreCorrupt | None = None
        self._opened: tuple[int, int] | None = None

    def open(self) -> None:
        """Make it (0600) if it is missing."""
        try:
            # Private from its first byte on; SQLite gives its other files the mode of this one.
            os.close(os.open(self.path, os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._opened = _identity(self.path)
        except OSError as error:
            raise StoreUnavailable(
                f"the store {self.path} cannot be made: {error.strerror}. Check that its directory is there and belongs to this user"
            ) from error

    def check(self) -> None:
        """Raises StoreCorrupt. SQLite goes on writing to a file that has no name any more; what is acknowledged would be lost."""
        if self.broken is not None:
            raise StoreCorrupt(str(self.broken))
        if self._opened is None or self._opened == _identity(self.path):
            return
        raise StoreCorrupt(
            f"the store {self.path} was removed or replaced while it was in use: stop writing; what was written last may be lost. "
            "End the control plane, put the file back (or use `meshwright restore`, or `meshwright store import`), and start it again"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        said = path.stat()
    except FileNotFoundError:
        return None
    return said.st_dev, said.st_ino


class _Connection:
    """A connection with a thread of its own, opened when it is used first."""

    def __init__(self, file: _File, patience: float) -> None:
        self._file = file
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._db: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Raises StoreError. A caller that is cancelled leaves the work to end by itself."""

        def safely() -> T:
            try:
                self._file.check()
                done = work(self._opened())
                self._file.check()
            except sqlite3.Error as error:
                if is_lost(error):
                    self._shut()  # What it holds in its cache may be no longer so: the next call opens it anew.
                raise told(error, self._file.path) from error
            return done

        return await asyncio.get_running_loop().run_in_executor(self._thread, safely)

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = _connect(self._file.path, self._patience)
        return self._db

    def _shut(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # It is given up; the error that led here is told.
                self._db.close()
            self._db = None

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()


def _connect(path: Path, patience: float) -> sqlite3.Connection:
    """To a file that is there: making one here would hide that ours is gone."""
    db = sqlite3.connect(
        _uri(path), uri=True, timeout=patience, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=rw"


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    path.chmod(0o600)
    ((application,),) = db.execute("PRAGMA application_id")
    ((version,),) = db.execute("PRAGMA user_version")
    ((tables,),) = db.execute("SELECT count(*) FROM sqlite_master")
    if (application, version) == (APPLICATION, FORMAT):
        return
    if application == APPLICATION and version > FORMAT:
        raise StoreCorrupt(f"{path} was made by a newer Meshwright (format {version}): run that")
    if application != APPLICATION and tables:
        raise StoreCorrupt(f"{path} is a database of another program: name another file")
    db.executescript(SCHEMA)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing: committed at the end of the block, and rolled back by any error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _head(db: sqlite3.Connection) -> Head:
    row = db.execute("SELECT number, id, oldest FROM head").fetchone()
    return NOTHING if row is None else Head(*row)


def _look(path: Path) -> Head | None:
    """The head, read afresh; None if it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(_uri(path), uri=True, timeout=1, isolation_level=None)) as db:
            return _head(db)
    except sqlite3.Error:
        return None


def look_at(path: Path) -> Head:
    """The head of a store that is there, changing nothing. Raises StoreError."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)) as db:
            return _head(db)
    except sqlite3.Error as error:
        raise told(error, path) from error


def copy_of(path: Path) -> bytes:
    """The file with all that is committed, as one moment had it; it may be in use. Raises StoreError."""
    try:
        with contextlib.closing(_connect(path, patience=5.0)) as db:
            return db.serialize()
    except sqlite3.Error as error:
        raise told(error, path) from error
