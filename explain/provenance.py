"""From the mesh's own names of documents to the file, the line and the field that a user wrote."""

from __future__ import annotations

import re

from documents.reading import Lines, Piece, show
from explain.answer import Source
from mesh.events import Declared
from mesh.names import Key
from mesh.state import MeshState

ORIGIN = re.compile(r"(?P<file>.*)#(?P<number>\S+) (?P<kind>[A-Za-z]+) (?P<key>[^/ ]+/[^/ ]+)")
"""`<file>#<number> <kind> <namespace>/<name>`: see `documents.parsing.Document.origin`."""


class Provenance:
    """Looks documents up in a state of the mesh. The text of one is read again, once, when the first of its lines is asked for."""

    def __init__(self, state: MeshState) -> None:
        self._state = state
        self._lines: dict[tuple[str, Key], Lines | None] = {}

    def document(self, kind: str, key: Key, *path: str | int) -> Source:
        """The field at `path`, or the nearest thing around it, of a document that is no service or workload."""
        found = self._declared(kind, key)
        if found is None:
            return Source(f"{kind} {key}", show(path))
        file = next(iter(found.value.origin), "").partition("#")[0]
        lines = self._read(found, kind, key)
        return Source(f"{kind} {key}", show(path), file, None if lines is None else lines.of(path))

    def service(self, key: Key) -> tuple[Source, ...]:
        service = self._state.services.get(key)
        return () if service is None else tuple(self.of_origin(each) for each in service.origin)

    def workload(self, key: Key) -> tuple[Source, ...]:
        workload = self._state.workloads.get(key)
        return () if workload is None else tuple(self.of_origin(each) for each in workload.origin)

    def of_origin(self, origin: str) -> Source:
        """What a resource says of where it came from."""
        found = ORIGIN.fullmatch(origin)
        if found is None:
            return Source(origin)
        kind, key = found["kind"], Key.parse(found["key"])
        if self._declared(kind, key) is not None:
            return self.document(kind, key)
        return Source(f"{kind} {key}", file=f"{found['file']}, document {found['number']}")

    def _declared(self, kind: str, key: Key) -> Declared | None:
        for source in self._state.ranked():
            found = self._state.sources[source].declared.get((kind, key))
            if found is not None:
                return found
        return None

    def _read(self, found: Declared, kind: str, key: Key) -> Lines | None:
        if (kind, key) not in self._lines:
            text = found.text if found.line else ""  # Of the store, a document has no lines.
            self._lines[kind, key] = Piece(found.line, text.encode()).lines() if text else None
        return self._lines[kind, key]
