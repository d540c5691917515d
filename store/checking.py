"""Reads a whole store and finds what is damaged."""

from __future__ import annotations

from dataclasses import dataclass

from store.errors import StoreCorrupt
from store.repository import Repository


@dataclass(frozen=True, slots=True)
class Checked:
    """What was read and found right: `blobs` are all that the revisions lead to."""

    revisions: int
    documents: int
    blobs: int


async def check(repository: Repository) -> Checked:
    """Every revision that is kept, every part of its manifest and every document against its hash. Raises StoreCorrupt, StoreError."""
    found: set[str] = set()
    before: int | None = None
    parent: str | None = None
    revisions = 0
    while page := await repository.history(limit=256, before=before):
        before = page[-1].number
        for revision in page:
            if parent is not None and revision.id != parent:
                raise StoreCorrupt(
                    f"{repository.where}: revision {revision.number} is not the one that revision {revision.number + 1} follows. "
                    "Restore the store from a backup"
                )
            parent = revision.parent
            revisions += 1
            found.add(revision.id)
            nodes = await repository.blobs.beyond(revision.root, found)
            found.update(name for name, _ in nodes)
            documents = {blob for _, node in nodes for blob in node.entries.values()} - found
            await repository.blobs.stored(documents)
            found |= documents
    documents_now = (await repository.documents()).documents
    return Checked(revisions, len(documents_now), len(found))
