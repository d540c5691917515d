"""Earlier values of documents, so that there is something to put in the place of one that Envoy refuses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from mesh.events import Declared, DocumentName, Event, SourceGone, SourceSnapshot, SourceUpdate
from mesh.state import MeshState
from meshwright.revisions import Held, documents_of, held, name_of, origin_of, revision_of

REVISIONS, DOCUMENTS, BYTES = 4, 500, 8 * 1024 * 1024
"""How many earlier values of one document, of how many documents, and how much text of all together is remembered."""

LEARNED = 50
"""Documents of which it is remembered what the store knows of them."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a document was, as `source` said it; `value` None, with no revision: it was not there."""

    source: str
    revision: str
    value: Held | None

    @property
    def size(self) -> int:
        return 256 + (len(self.value.text) if isinstance(self.value, Declared) else 0)


class History:
    """Of the documents that changed last, the values before, newest first; who changed last stands last."""

    def __init__(self) -> None:
        self._of: OrderedDict[DocumentName, tuple[Earlier, ...]] = OrderedDict()
        self._learned: OrderedDict[DocumentName, tuple[Earlier, ...]] = OrderedDict()
        self._size = 0

    def __iter__(self) -> Iterator[tuple[DocumentName, tuple[Earlier, ...]]]:
        yield from self._of.items()

    def of(self, name: DocumentName) -> tuple[Earlier, ...]:
        return self._of.get(name) or self._learned.get(name, ())

    def learn(self, name: DocumentName, earlier: tuple[Earlier, ...]) -> None:
        """What a document was before, as somebody knows who remembers longer. That it changed is no news, and says nothing of when."""
        self._learned[name] = earlier
        self._learned.move_to_end(name)
        while len(self._learned) > LEARNED:
            self._learned.popitem(last=False)

    def latest(self) -> Iterator[DocumentName]:
        """The documents that changed, the last first."""
        return reversed(self._of)

    def note(self, before: MeshState, after: MeshState, event: Event) -> bool:
        """`event` made `after` of `before`; whether documents changed that it will be good to remember.

        What is there at first has changed nothing: no source had spoken.
        """
        view = before.sources.get(event.source)
        if view is None:
            return False
        changed = False
        for name in _said(before, event):
            was, now = held(before, event.source, name), held(after, event.source, name)
            some = now or was
            # What is said again is mostly the very object that was there.
            if was is now or was == now or some is None or not any(documents_of(origin_of(some))):
                continue  # nothing new; or a registry's, which comes and goes
            changed = True
            self.add(name, Earlier(event.source, "" if was is None else revision_of(was), was))
        return changed

    def add(self, name: DocumentName, earlier: Earlier) -> None:
        """The document changed; `earlier`: what it was."""
        known = self._of.pop(name, ())
        kept = (earlier, *(each for each in known if each.revision != earlier.revision))
        self._of[name] = kept[:REVISIONS]
        self._size += sum(each.size for each in self._of[name]) - sum(each.size for each in known)
        while len(self._of) > DOCUMENTS or (self._size > BYTES and len(self._of) > 1):
            _, gone = self._of.popitem(last=False)
            self._size -= sum(each.size for each in gone)


def _said(before: MeshState, event: Event) -> Iterator[DocumentName]:
    """Of what `event` says something. Services and workloads that no document declares are among it: a registry's."""
    if isinstance(event, SourceGone):
        return
    if isinstance(event, SourceUpdate):
        yield from said_by(event)
        return
    yield from _put(event)
    said = {each.name for each in event.declared}
    yield from (name for name in before.sources[event.source].declared if name not in said)


def said_by(event: SourceUpdate) -> Iterator[DocumentName]:
    """Of what it says something: what is put, and what is removed."""
    yield from _put(event)
    yield from (("Service", key) for key in event.removed_services)
    yield from (("Workload", key) for key in event.removed_workloads)
    yield from event.removed_declared


def _put(event: SourceSnapshot | SourceUpdate) -> Iterator[DocumentName]:
    every: tuple[Held, ...] = (*event.services, *event.workloads, *event.declared)
    yield from map(name_of, every)
