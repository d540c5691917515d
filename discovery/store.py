"""The store as a source: what its documents say, as events, and which revision of it the mesh has been told of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from discovery.file import FileSource
from discovery.source import SourceEvent
from documents.sets import DocumentSet


class StoreSource:
    """The services, workloads and other documents of a store.

    `sets` yields the documents and the number of the revision that they are of, at first and after each revision
    (`store.sets.StoreDocuments` is one). Not guarded: who deletes through the store says so.

    `applied_revision` is the newest revision of which all events were handed over and taken, 0 before the first; `on_applied` is
    called once with each such number, revisions that change nothing for the mesh included. `before_each` is awaited before anything of a
    set is handed over. Both may be set later.
    """

    guarded = False

    def __init__(
        self,
        name: str,
        sets: AsyncIterable[tuple[DocumentSet, int]],
        on_applied: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.applied_revision = 0
        self.on_applied = on_applied
        self.before_each: Callable[[], Awaitable[None]] = _nothing
        self._sets = sets
        self._files = FileSource(name, _Following(self._followed), guarded=False)

    @property
    def name(self) -> str:
        return self._files.name

    async def events(self) -> AsyncGenerator[SourceEvent, None]:
        async with aclosing(self._files.events()) as events:
            async for event in events:
                yield event

    async def _followed(self) -> AsyncGenerator[DocumentSet, None]:
        revisions = aiter(self._sets)
        told: int | None = None
        try:
            async for documents, revision in revisions:
                if not documents.failure:
                    await self.before_each()
                yield documents
                # The next set is asked for when all events of this one were taken.
                if not documents.failure and revision != told:
                    self.applied_revision = told = revision
                    self.on_applied(revision)
        finally:
            if isinstance(revisions, AsyncGenerator):
                await revisions.aclose()


class _Following:
    """What can be iterated anew by each call of `FileSource.events`."""

    def __init__(self, begin: Callable[[], AsyncGenerator[DocumentSet, None]]) -> None:
        self._begin = begin

    def __aiter__(self) -> AsyncIterator[DocumentSet]:
        return self._begin()


async def _nothing() -> None:
    pass
