"""The head that a control plane has followed: what tells a store that was lost, emptied or exchanged from one that was written to.

A store only ever grows: a head that is lower than before, or another revision with the same number, is no write of anybody. Who took
it for one would take everything away from the mesh, what forbids traffic included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from store.backend import Head
from store.errors import StoreReplaced
from store.revision import Revision

FILE: Final = "store-head.json"
"""In the data directory."""


@dataclass(frozen=True, slots=True)
class Seen:
    number: int
    id: str

    def may_become(self, head: Head | Revision) -> bool:
        return head.number > self.number or (head.number == self.number and head.id == self.id)


class Followed:
    """The newest head that was seen, kept in `path` if there is one. Of a `path` that is missing or unreadable nothing is known."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._seen = _read(path)
        self._saved = self._seen

    @property
    def seen(self) -> Seen | None:
        return self._seen

    def adopted(self) -> bool:
        """Whether another head was adopted since; it is then what was seen."""
        said = _read(self._path)
        if said is None or said == self._saved:
            return False
        self._seen = self._saved = said
        return True

    def lost(self, number: int, where: str) -> StoreReplaced:
        was = f"{self._seen.number} {self._seen.id[:12]}" if self._seen else "another"
        return StoreReplaced(
            f"{where} is another store or has lost what it held (revision {number}, was {was}): what it said before stays in force, and "
            "nothing is written. Bring it back by `meshwright store import FILE` or `meshwright restore`; if it is meant to be "
            "so, say `meshwright store adopt`"
        )

    def follow(self, head: Head | Revision) -> None:
        """`head` has grown from what was seen, and is followed from now on."""
        if head.number and (self._seen is None or head.number > self._seen.number):
            self._seen = Seen(head.number, head.id)

    async def save(self) -> None:
        """Keep what was seen beyond a restart. OSError."""
        if self._path is not None and self._seen is not None and self._seen != self._saved:
            seen = self._seen
            await asyncio.to_thread(_write, self._path, seen)
            self._saved = seen


def adopt(path: Path, head: Head) -> None:
    """Make `head` the one to follow, for a control plane that runs, too. OSError."""
    _write(path, Seen(head.number, head.id))


def _read(path: Path | None) -> Seen | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        said = json.loads(path.read_bytes()) if path is not None else {}
        return Seen(int(said["number"]), str(said["id"]))
    return None


def _write(path: Path, seen: Seen) -> None:
    part = path.with_name(f".{path.name}.tmp")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(json.dumps({"number": seen.number, "id": seen.id}).encode())
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
