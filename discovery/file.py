"""Files as a source: what sets of documents say, as events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from typing import ParamSpec, TypeVar

from discovery.source import (
    SourceEvent,
    SourceFailed,
    SourceIncomplete,
    SourceRecovered,
    SourceReport,
)
from documents.parsing import Document
from documents.sets import DocumentSet, FileState
from mesh.events import SourceUpdate
from mesh.names import Key
from mesh.service import Service
from mesh.workload import Workload

MANY = 500
"""Files of which to look at all takes a millisecond."""

P = ParamSpec("P")
R = TypeVar("R")


class FileSource:
    """The services and workloads of a directory of documents.

    `sets` yields the documents at first and after each change (`store.directory.Directory` is one). It is iterated
    anew by each call of `events`, so it should be one that can be. `guarded`: a directory that is suddenly empty is
    more often a mount that went away than somebody's wish.
    """

    def __init__(self, name: str, sets: AsyncIterable[DocumentSet], *, guarded: bool = True) -> None:
        self._name = name
        self._sets = sets
        self._guarded = guarded
        self._reported = SourceReport(name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def guarded(self) -> bool:
        return self._guarded

    async def events(self) -> AsyncGenerator[SourceEvent, None]:
        told: DocumentSet | None = None
        failing = ""
        lacking = frozenset[str]()
        async with _closing(aiter(self._sets)) as sets:
            async for documents in sets:
                if documents.failure:
                    if documents.failure != failing:
                        yield SourceFailed(self._name, documents.failure)
                    failing = documents.failure
                    if told is None or documents.files is told.files:
                        continue
                    # Part of it can be read all the same (a cluster has many kinds), and changes there hold.
                elif failing:
                    failing = ""
                    yield SourceRecovered(self._name)
                first = told is None
                unread = frozenset(
                    file for file, state in documents.files.items() if state.held is None and state.refused
                )
                if told is None or lacking:
                    # Files that were wrong when we started: what they held before is known to the guard alone, so it is
                    # told of the whole until the last of them was read.
                    still = unread if told is None else unread & lacking
                    if still or lacking:
                        yield SourceIncomplete(self._name, still)
                    lacking = still
                    yield await _worked(documents, documents.to_snapshot, self._name)
                elif update := await _worked(documents, difference, self._name, told, documents):
                    yield update
                told = documents
                new = await _worked(documents, _report, self._name, documents)
                # What an earlier reading reported may stand yet: the first report replaces it.
                if new != self._reported or (first and new != SourceReport(self._name)):
                    self._reported = new
                    yield new


async def _worked(documents: DocumentSet, work: Callable[P, R], *args: P.args, **more: P.kwargs) -> R:
    """What `work` gives, which looks at all of `documents`: of many, that takes too long for the event loop."""
    if len(documents.files) > MANY:
        return await asyncio.to_thread(work, *args, **more)
    return work(*args, **more)


def difference(source: str, old: DocumentSet, new: DocumentSet) -> SourceUpdate | None:
    """What `new` has in force that `old` has not, and the reverse; None if there is nothing of the kind.

    Looks only into files whose content in force is another one. A document that has merely moved is put again, for
    its origin.
    """
    was: dict[tuple[str, Key], Document] = {}
    now: dict[tuple[str, Key], Document] = {}
    for before, after in _differing(old, new):
        held = before.held if before else None, after.held if after else None
        if held[0] is held[1]:
            continue
        for parsed, into in zip(held, (was, now), strict=True):
            into.update({document.name: document for document in (parsed.documents if parsed else ())})
    put = [
        document
        for name, document in now.items()
        if name not in was or was[name].value != document.value or was[name].origin != document.origin
    ]
    gone = [document for name, document in was.items() if name not in now]
    values, removed = [each.value for each in put], [each.value for each in gone]
    update = SourceUpdate(
        source,
        services=tuple(each for each in values if isinstance(each, Service)),
        workloads=tuple(each for each in values if isinstance(each, Workload)),
        removed_services=tuple(each.key for each in removed if isinstance(each, Service)),
        removed_workloads=tuple(each.key for each in removed if isinstance(each, Workload)),
        declared=tuple(each.as_declared() for each in put if not isinstance(each.value, Service | Workload)),
        removed_declared=tuple(each.name for each in gone if not isinstance(each.value, Service | Workload)),
    )
    return None if update == SourceUpdate(source) else update


def _differing(old: DocumentSet, new: DocumentSet) -> Iterator[tuple[FileState | None, FileState | None]]:
    """The files that were read again, came or went."""
    came = 0
    for file, after in new.files.items():
        before = old.files.get(file)
        if before is not after:
            came += before is None
            yield before, after
    if len(old.files) + came > len(new.files):  # As a rule nothing goes, and of thousands a look costs.
        yield from ((before, None) for file, before in old.files.items() if file not in new.files)


def _report(source: str, documents: DocumentSet) -> SourceReport:
    return SourceReport(source, tuple(map(str, documents.errors)), tuple(map(str, documents.warnings)))


@contextlib.asynccontextmanager
async def _closing(sets: AsyncIterator[DocumentSet]) -> AsyncIterator[AsyncIterator[DocumentSet]]:
    """Close `sets` at the end if it can be closed: it may hold a watcher."""
    try:
        yield sets
    finally:
        if isinstance(sets, AsyncGenerator):
            await sets.aclose()
