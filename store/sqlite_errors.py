"""What SQLite says, as errors that say the way out (https://sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from store.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreUnavailable

_LOST = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
)


def is_lost(error: sqlite3.Error) -> bool:
    """Whether the connection that said this is not to be used again."""
    return _code(error) in _LOST


def told(error: sqlite3.Error, path: Path) -> StoreError:
    """What to raise in place of `error`."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    said = f"{error} ({name})"
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreLocked(
                f"the store {path} is locked by another process; nothing was written. End what uses it "
                f"(`fuser {path}` names it), or try again"
            )
        case sqlite3.SQLITE_FULL:
            return StoreFull(
                f"there is no room for the store {path}; nothing was written. Make room on its disk (or raise a quota), then try again"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(
                f"the store {path} is damaged or no database: {said}. End the control plane, move {path.name}, {path.name}-wal and "
                f"{path.name}-shm aside, then bring back what was saved: `meshwright restore`, or `meshwright store import FILE`"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return StoreUnavailable(
                f"the store {path} cannot be opened or written: {said}. Check that its directory is there and belongs to this user"
            )
        case sqlite3.SQLITE_IOERR:
            return StoreUnavailable(f"the disk of the store {path} fails: {said}. Check the disk")
        case _:
            return StoreUnavailable(f"the store {path} cannot be used: {said}")


def _code(error: sqlite3.Error) -> int | None:
    """The primary result code; None for errors of the module itself, for instance a closed connection."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
