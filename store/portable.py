"""A whole store with its history as lines of JSON, to be kept or moved: from any backend into any other, ids included.

    {"meshwright-store": 1, "head": {"number": 2, "id": "…", "oldest": 1}}
    {"document": "<name>", "json": …}     what revisions lead to, each before what names it
    {"node": "<name>", "json": …}
    {"revision": "<id>", "json": …}       in order
    {"end": 5}                            how many lines there were between the first and this one

Each name is the hash of the canonical form of its `json`, so that nothing can be changed or lost on the way without being noticed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from store.backend import NOTHING, Backend, Head
from store.codec import canonical, decode_revision, decode_stored, digest
from store.errors import BadStream, StoreError
from store.manifest import NO_ENTRIES, decode_node
from store.repository import Repository
from store.revision import Revision

MAGIC = "meshwright-store"
VERSION = 1
BATCH = 2 << 20
"""Bytes that are written at once."""
_NO_EXPORT = "this is no export of a store: make one by `meshwright store export`"
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError)
"""What comes of JSON that has another shape than ours."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`revisions`: how many came that were not there before. `head` is the number of the newest."""

    revisions: int
    head: int


async def export(repository: Repository) -> AsyncGenerator[bytes, None]:
    """The lines of `repository`, each with its newline. Raises StoreError."""
    backend, blobs = repository.backend, repository.blobs
    head = await backend.head()
    yield _line({MAGIC: VERSION, "head": {"number": head.number, "id": head.id, "oldest": head.oldest}})
    told: set[str] = set()
    count = 0
    for number in range(head.oldest, head.number + 1) if head.number else ():
        revision = await repository.revision(number)
        nodes = await blobs.beyond(revision.root, told)
        # Of nodes, those below come first.
        names = [blob for _, node in nodes for blob in node.entries.values() if blob not in told]
        documents = dict.fromkeys(names)
        order = [("document", name) for name in documents] + [("node", name) for name, _ in reversed(nodes)]
        read = await blobs.raw([*documents, *(name for name, _ in nodes), revision.id])
        for what, name in (*order, ("revision", revision.id)):
            told.add(name)
            count += 1
            yield b'{"%s":"%s","json":%s}\n' % (what.encode(), name.encode(), read[name])
    yield _line({"end": count})


async def load(backend: Backend, lines: AsyncIterable[bytes]) -> Loaded:
    """Make `backend` hold what the lines say. It must be empty, or at a revision that the lines have; other writers lose no write.

    Nothing is in force before all was read and checked. Raises BadStream (nothing was changed, as far as anybody can see), StoreError.
    """
    expected = await backend.head()
    reader = _Reader()
    waiting: dict[str, bytes] = {}
    size = 0
    async for group in _grouped(lines):
        for name, blob in (await asyncio.to_thread(reader.read, group)).items():
            waiting[name] = blob
            size += len(blob)
        if size >= BATCH:
            await backend.put(waiting)
            waiting, size = {}, 0
    new = reader.finished()
    if waiting:
        await backend.put(waiting)
    known = {revision.number: revision.id for revision in reader.revisions}
    if expected != NOTHING and known.get(expected.number) != expected.id:
        raise BadStream(
            f"{backend.where} is at revision {expected.number}, which this export does not have: load it into an empty store"
        )
    if new.number == expected.number:
        return Loaded(0, new.number)
    ids = {number: ident for number, ident in known.items() if number > expected.number}
    if expected != NOTHING:
        new = replace(new, oldest=expected.oldest)
    if not await backend.compare_and_set_head(expected, new, ids):
        raise BadStream(f"somebody wrote to {backend.where} meanwhile: stop what uses it, then load again")
    return Loaded(len(ids), new.number)


@dataclass(slots=True)
class _Reader:
    """Checks lines as they come: that each is what its name says, and that all it names came before."""

    head: Head | None = None
    revisions: list[Revision] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    count: int = 0
    ended: bool = False
    number: int = 0

    def read(self, lines: list[bytes]) -> dict[str, bytes]:
        """The blobs of some lines."""
        blobs: dict[str, bytes] = {}
        for line in lines:
            self.number += 1
            try:
                blob = self._one(json.loads(line))
            except BadStream:
                raise
            except (*_NONSENSE, StoreError) as error:
                if self.head is None:
                    raise BadStream(_NO_EXPORT) from error
                raise BadStream(f"line {self.number} of the export is damaged: {error}") from error
            if blob is not None:
                blobs[blob[0]] = blob[1]
        return blobs

    def _one(self, said: dict[str, Any]) -> tuple[str, bytes] | None:
        if self.head is None:
            if MAGIC not in said:
                raise BadStream(_NO_EXPORT)
            if said[MAGIC] != VERSION:
                raise BadStream(
                    f"the export has version {said[MAGIC]}, this program reads {VERSION}: load it with the Meshwright that made it"
                )
            self.head = Head(**said["head"])
            return None
        if self.ended:
            raise ValueError("there is more after the end")
        if "end" in said:
            if said["end"] != self.count:
                raise ValueError(f"{said['end']} lines are announced, {self.count} came")
            self.ended = True
            return None
        what, name = next(iter(said.items()))
        blob = canonical(said["json"])
        if digest(blob) != name:
            raise ValueError("its content has another hash than its name says")
        lacking = next((each for each in self._named(what, name, blob) if each not in self.seen), None)
        if lacking is not None:
            raise ValueError(f"it names {lacking}, which did not come before it")
        self.seen.add(name)
        self.count += 1
        return name, blob

    def _named(self, what: str, name: str, blob: bytes) -> Iterator[str]:
        """What a blob leads to. Raises ValueError, StoreCorrupt."""
        if what == "document":
            decode_stored(name, blob)
        elif what == "node":
            node = decode_node(name, blob)
            yield from node.entries.values()
            yield from (child for child, _ in node.children.values())
        elif what == "revision":
            revision = decode_revision(name, blob)
            before = self.revisions[-1] if self.revisions else None
            first = self.head.oldest if self.head is not None else 1
            if revision.number != (before.number + 1 if before is not None else first):
                raise ValueError(f"revision {revision.number} is out of order")
            if before is not None and revision.parent != before.id:
                raise ValueError(f"revision {revision.number} does not follow the one before it")
            self.revisions.append(revision)
            if revision.root != NO_ENTRIES:
                yield revision.root
        else:
            raise ValueError(f"{what!r} is not known")

    def finished(self) -> Head:
        """Raises BadStream if it is not whole."""
        if self.head is None:
            raise BadStream("the export is empty")
        if not self.ended:
            raise BadStream(f"the export ends after line {self.number}, in the middle: get it whole")
        last = (self.revisions[-1].number, self.revisions[-1].id) if self.revisions else (0, "")
        if last != (self.head.number, self.head.id):
            raise BadStream("the export does not have the revision that it begins with: it is damaged")
        return self.head


async def _grouped(lines: AsyncIterable[bytes]) -> AsyncGenerator[list[bytes], None]:
    """Some lines at a time, empty ones left out."""
    group: list[bytes] = []
    async for line in lines:
        if line.strip():
            group.append(line)
        if len(group) >= 256:
            yield group
            group = []
    if group:
        yield group


def _line(value: object) -> bytes:
    return canonical(value) + b"\n"
