"""The documents of a store as they come into force: sets of documents, as a directory yields them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

import structlog

from documents.envelope import Kind
from documents.parsing import ParsedFile, parse_kept
from documents.reading import Tree
from documents.sets import DocumentSet
from policies.registry import KINDS
from store.errors import StoreError
from store.repository import Repository
from store.revision import Revision
from store.stored import Name, Stored

log = structlog.get_logger(__name__)

RETRY = 1.0
"""Seconds until a store that could not be read is asked again."""
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML only escaped (YAML 1.2.2, 5.1)."""


class StoreDocuments:
    """The documents of `repository`, with the number of the revision that each set is of.

    Each document is a "file" by itself, so that one that is refused concerns no other: it keeps what it held in an
    earlier revision that this object has seen.
    """

    def __init__(
        self, repository: Repository, kinds: tuple[Kind, ...] = KINDS, *, retry: float = RETRY
    ) -> None:
        self._repository = repository
        self._kinds = kinds
        self._retry = retry
        self._documents = DocumentSet()
        self._read: Mapping[Name, Stored] = {}

    @property
    def latest(self) -> tuple[DocumentSet, Mapping[Name, Stored]]:
        """What was read last, and of which documents of the store."""
        return self._documents, self._read

    def __aiter__(self) -> AsyncIterator[tuple[DocumentSet, int]]:
        return self.watch()

    async def watch(self) -> AsyncGenerator[tuple[DocumentSet, int], None]:
        """The documents at the head, then after each revision; for one reader at a time.

        A store that cannot be read, or did not grow from the head that was followed last, yields the set with its `failure`, and is
        asked again.
        """
        revision = 0
        while True:
            try:
                snapshot = await self._repository.documents()
                await self._repository.grown(snapshot.revision)
                revision = snapshot.revision.number
                yield await self._moved_to(snapshot.documents), revision
                await self._followed(snapshot.revision)
                async with aclosing(self._repository.watch(revision)) as revisions:
                    async for each in revisions:
                        revision = each.number
                        put = {change.name: change.blob for change in each.changes if change.blob is not None}
                        stored = await self._repository.blobs.stored(put.values())
                        changes: dict[Name, Stored | None] = {change.name: None for change in each.changes}
                        changes |= {name: stored[blob] for name, blob in put.items()}
                        yield await self._changed(changes), revision
                        await self._followed(each)
            except StoreError as error:
                yield self._documents.failed(str(error)), revision
                await asyncio.sleep(self._retry)

    async def _followed(self, revision: Revision) -> None:
        self._repository.followed.follow(revision)
        try:
            await self._repository.followed.save()
        except OSError as error:  # The store itself is well.
            log.warning("the head of the store was not saved", revision=revision.number, reason=str(error))

    async def _moved_to(self, now: Mapping[Name, Stored]) -> DocumentSet:
        before = self._read
        changes = {name: now.get(name) for name in {*before, *now} if before.get(name) != now.get(name)}
        return await self._changed(changes)

    async def _changed(self, changes: Mapping[Name, Stored | None]) -> DocumentSet:
        """The set after some documents are others (None: are gone)."""
        self._documents = await asyncio.to_thread(self._with, changes)
        read = dict(self._read)
        for name, stored in changes.items():
            read.pop(name, None)
            if stored is not None:
                read[name] = stored
        self._read = read
        return self._documents

    def _with(self, changes: Mapping[Name, Stored | None]) -> DocumentSet:
        put = [as_file(stored, self._kinds) for stored in changes.values() if stored is not None]
        gone = [file_of(name) for name, stored in changes.items() if stored is None]
        return self._documents.with_files(put, gone)


def file_of(name: Name) -> str:
    """What a document of the store is called among files: `<kind> <namespace>/<name>`, as its provenance ends."""
    kind, key = name
    return f"{kind} {key}"


def as_file(stored: Stored, kinds: tuple[Kind, ...] = KINDS) -> ParsedFile:
    """The document as a file of one; its provenance is `store#<revision> <kind> <namespace>/<name>`."""
    said = {**stored.body, "metadata": _metadata(stored)}
    return parse_kept(file_of(stored.name), f"store#{stored.resource_version}", said, text_of(said), kinds)


def text_of(document: Mapping[str, Tree]) -> str:
    """A document as JSON that our YAML reads."""
    text = json.dumps(document, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _metadata(stored: Stored) -> dict[str, Tree]:
    """Of what the store adds, only what decides something: of two policies that tie, the older wins."""
    said = stored.body.get("metadata")
    metadata: dict[str, Tree] = dict(said) if isinstance(said, dict) else {}
    metadata["creationTimestamp"] = stored.created_at.isoformat()
    return metadata
