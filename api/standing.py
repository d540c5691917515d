"""The documents of the store, read as they are in force: what a write is checked against."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from documents.envelope import Kind
from documents.parsing import ParsedFile, parse_kept
from documents.reading import Tree
from documents.sets import DocumentSet
from mesh.names import Key
from store.repository import Repository
from store.sets import as_file, file_of, text_of
from store.stored import Name, Stored

Latest = Callable[[], tuple[DocumentSet, Mapping[Name, Stored]]]


@dataclass(frozen=True, slots=True)
class Stand:
    """The store at one revision: `stored` as it keeps them, `read` as the mesh reads them, each document a file of its own."""

    revision: int
    stored: Mapping[Name, Stored]
    read: DocumentSet


class Standing:
    """Reads what the store's head has and the mesh has not read yet. One task at a time asks it."""

    def __init__(self, repository: Repository, latest: Latest, kinds: tuple[Kind, ...]) -> None:
        """`latest`: what the mesh has read, and of which documents."""
        self._repository = repository
        self._latest = latest
        self._kinds = kinds
        self._stand: tuple[str, Stand] | None = None

    async def at_head(self) -> Stand:
        """StoreError."""
        snapshot = await self._repository.documents()
        if self._stand is not None and self._stand[0] == snapshot.revision.root:
            read = self._stand[1].read
        else:
            read = await self._read(snapshot.documents)
        stand = Stand(snapshot.revision.number, snapshot.documents, read)
        self._stand = snapshot.revision.root, stand
        return stand

    async def _read(self, documents: Mapping[Name, Stored]) -> DocumentSet:
        read, known = self._latest()

        def work() -> DocumentSet:
            changed = [
                (name, documents.get(name))
                for name in {*documents, *known}
                if _version(documents.get(name)) != _version(known.get(name))
            ]
            put = [as_file(stored, self._kinds) for _, stored in changed if stored is not None]
            return read.with_files(put, [file_of(name) for name, stored in changed if stored is None])

        # In a thread in any case: of thousands, to compare them alone takes too long for the event loop.
        return await asyncio.to_thread(work)

    def parsed(self, kind: str, key: Key, revision: int, document: Mapping[str, Tree]) -> ParsedFile:
        """`document` as the file that it would be in a `Stand`, written by `revision`."""
        return parse_kept(
            file_of((kind, key)), f"store#{revision}", dict(document), text_of(document), self._kinds
        )


def _version(stored: Stored | None) -> tuple[str, str] | None:
    """What is equal for equal content alone."""
    return None if stored is None else (stored.uid, stored.resource_version)
