"""Documents and their revisions, over any backend.

A revision is a blob that names its parent and the root of a manifest; the manifest is a tree of blobs that leads to one blob
for each document (`store.manifest`). What is equal is stored once, whatever revisions share it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mesh.names import Key
from store.revision import Difference, Revision
from store.stored import Name, Stored
from store.writes import Write


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents of one revision."""

    revision: Revision
    documents: Mapping[Name, Stored]


class Repository(Protocol):
    """What `store.repository.Repository` will be able to do. Everything raises StoreError; `at` is the number of a revision, None the head."""

    @property
    def where(self) -> str:
        """For people: what the store is, without secrets."""
        ...

    async def head(self) -> Revision:
        """The newest revision; `store.revision.EMPTY` (number 0) for a store that was never written to."""
        ...

    async def revision(self, number: int) -> Revision:
        """Raises NoSuchRevision."""
        ...

    async def get(self, kind: str, key: Key, at: int | None = None) -> Stored | None: ...

    async def list(
        self, kind: str | None = None, namespace: str | None = None, at: int | None = None
    ) -> tuple[Stored, ...]:
        """In the order of kind, namespace and name."""
        ...

    async def documents(self, at: int | None = None) -> Snapshot:
        """All documents together with the revision that they are of: for whoever pages or goes on with `watch`."""
        ...

    async def commit(
        self,
        writes: Iterable[Write],
        *,
        author: str,
        reason: str = "",
        expect: int | None = None,
        dry_run: bool = False,
    ) -> Revision:
        """Do all of `writes`, or nothing, as one revision.

        `expect`: none of the documents written may have been changed after that revision. Writers of other documents do no
        harm: then it is tried again on top of theirs. With nothing to change it is the current revision, told with no
        `changes`. A dry run tells what the revision would be, with its number, and writes nothing. Raises Conflict,
        InvalidWrite, StoreTooLarge, OutcomeUnknown, and what a backend raises.
        """
        ...

    async def history(
        self, kind: str | None = None, key: Key | None = None, *, limit: int = 100, before: int | None = None
    ) -> tuple[Revision, ...]:
        """Revisions that changed such documents, the newest first, with numbers smaller than `before`."""
        ...

    async def diff(self, a: int, b: int) -> tuple[Difference, ...]:
        """How documents differ between two revisions (0: none at all), in the order of kind, namespace and name."""
        ...

    async def rollback(self, to: int, *, author: str, reason: str = "") -> Revision:
        """A new revision with the documents of revision `to`, byte for byte. With nothing to change, as `commit`."""
        ...

    def watch(self, after: int) -> AsyncIterator[Revision]:
        """Each revision with a number greater than `after`, in order, none skipped or repeated, and then as they come.

        Raises NoSuchRevision if revisions after `after` are not kept any more (or it is greater than the head).
        """
        ...

    def export(self) -> AsyncIterator[bytes]:
        """The whole store with its history, as lines: see store.portable."""
        ...
