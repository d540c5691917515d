"""The ledger of issued leaves on disk, beside the authority:

    <data directory>/ca/issued.json        a snapshot: its first line names the last journal that it covers
    <data directory>/ca/issued-<n>.jsonl   journals: one entry a line, appended before a leaf is handed out

A line is with the kernel when `append` returns, so that the end of this process, however it comes, loses none; `sync` puts lines on the
disk against the end of the machine. When a journal has grown, the next one is begun and the ledger is written anew beside
it, in a thread, while leaves are issued.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from ca import files
from ca.ledger import Entry, Issued, Ledger
from ca.rotation import Holder, Leaf

SNAPSHOT: Final = "issued.json"
GROWN: Final = 2000
"""Lines beyond twice the number of leaves after which a journal is not gone on with."""

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
_COVERS: Final = TypeAdapter(int)


class LedgerFile:
    """Where `ledger` is kept. Use it from one event loop. `sync` and `rewrite` wait for the disk in threads: one of them at a time."""

    def __init__(self, directory: Path, entries: Iterable[Entry], number: int) -> None:
        """For `open`."""
        self._directory = directory
        self._number = number
        self._journal = self._begin(number)
        self._before: list[int] = []  # journals that were turned from, and may not be on the disk yet
        self._lines = self._synced = 0
        self._stale = True
        self.ledger = Ledger(entries, self.append)

    @classmethod
    def open(cls, directory: Path, *, created: bool, unrecorded_until: datetime) -> Self:
        """The ledger kept in `directory`, which is there and private.

        Without one, or with one that is damaged, leaves may be about that nobody knows of: until `unrecorded_until` they are reckoned
        with. Not so for an authority that was `created` just now. OSError if it cannot be read or begun.
        """
        entries, number, whole = _read(directory)
        made = cls(directory, entries, number + 1)
        if not whole and not created:
            made.ledger.issued(
                Leaf(
                    serial=-number - 1,
                    holder=Holder.UNRECORDED,
                    workload="",
                    family="unrecorded",
                    generation=0,
                    not_after=unrecorded_until,
                )
            )
        return made

    def append(self, entry: Entry) -> None:
        """OSError if the disk does not take it. What it took of the line, if anything, counts as damage when it is read."""
        line = _ENTRY.dump_json(entry) + b"\n"
        if os.write(self._journal, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory))
        self._lines += 1

    async def sync(self) -> None:
        """Put what has been appended on the disk. OSError: it may not be there, and the next call tries again."""
        if self._before or self._lines != self._synced:
            lines, before = self._lines, tuple(self._before)
            await asyncio.to_thread(_fsync, (*before, self._journal))
            self._synced = lines
            for each in before:
                self._before.remove(each)
                os.close(each)

    @property
    def grown(self) -> bool:
        """Whether it is time for `rewrite`: the journal is long, or none has been written since this start."""
        return self._stale or self._lines > GROWN + 2 * len(self.ledger)

    async def rewrite(self) -> None:
        """Write the ledger anew, and go on in another journal. OSError: what is on the disk is whole all the same."""
        if self._lines:
            journal = await asyncio.to_thread(self._begin, self._number + 1)
            # Without an await: no line comes between the journal's end and what the snapshot holds.
            self._before.append(self._journal)
            self._journal, self._number = journal, self._number + 1
            self._lines = self._synced = 0
        leaves, covered = self.ledger.leaves(), self._number - 1
        await self.sync()
        await asyncio.to_thread(self._write, leaves, covered)
        self._stale = False

    def _write(self, leaves: Iterable[Leaf], covered: int) -> None:
        """Write the snapshot that covers all journals up to `covered`, and remove those."""
        lines = [_COVERS.dump_json(covered), *(_ENTRY.dump_json(Issued(leaf)) for leaf in leaves)]
        files.write_atomically(self._directory / SNAPSHOT, b"\n".join(lines) + b"\n")
        for number, path in _journals(self._directory):
            if number <= covered:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        for each in (*self._before, self._journal):
            os.close(each)

    def _begin(self, number: int) -> int:
        path = self._directory / f"issued-{number}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, files.PRIVATE)
        try:
            files.sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _fsync(descriptors: Iterable[int]) -> None:
    for each in descriptors:
        os.fsync(each)


def _journals(directory: Path) -> list[tuple[int, Path]]:
    found = ((path.stem.removeprefix("issued-"), path) for path in directory.glob("issued-*.jsonl"))
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def _read(directory: Path) -> tuple[list[Entry], int, bool]:
    """The entries, the number of the last journal, and whether nothing is missing. An unfinished last line was never acted on."""
    entries: list[Entry] = []
    journals, covered, whole = _journals(directory), 0, True
    try:
        first, *rest = files.read_private(directory / SNAPSHOT).splitlines()
        covered = _COVERS.validate_json(first)
        entries.extend(map(_ENTRY.validate_json, rest))
    except FileNotFoundError:
        whole = bool(journals) and journals[0][0] == 1
    except ValueError:  # ValidationError, too: a leaf that cannot be read may be anybody's
        whole = False
    following = [number for number, _ in journals if number > covered]
    whole = whole and following == list(range(covered + 1, covered + 1 + len(following)))
    for number, path in journals:
        if number <= covered:
            continue
        for line in files.read_private(path).split(b"\n")[:-1]:
            try:
                entries.append(_ENTRY.validate_json(line))
            except ValidationError:
                whole = False
    return entries, max(covered, *following, 0), whole
