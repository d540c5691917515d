"""Earlier revisions of documents from the store, where it has them: its history goes back further than what is remembered in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from documents.envelope import Kind
from mesh.events import Declared, DocumentName
from mesh.service import Service
from mesh.workload import Workload
from meshwright.quarantine.history import REVISIONS, Earlier
from meshwright.revisions import revision_of
from store.errors import StoreError
from store.repository import Repository
from store.sets import as_file
from store.stored import Stored

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreHistory:
    """`source`: the name of the store's source. Services outside the mesh are kept under a kind of their own, and are not looked for."""

    repository: Repository
    source: str
    kinds: tuple[Kind, ...]

    async def earlier(self, name: DocumentName) -> tuple[Earlier, ...]:
        """Of what the document was before, newest first; nothing, and a line in the log, if the store does not answer."""
        kind, key = name
        try:
            revisions = await self.repository.history(kind, key, limit=REVISIONS + 1)
            stored = [await self.repository.get(kind, key, at=each.number) for each in revisions[1:]]
        except StoreError as error:
            log.warning("earlier revisions are not known", document=f"{kind} {key}", reason=str(error))
            return ()
        return await asyncio.to_thread(self._read, [each for each in stored if each is not None])

    def _read(self, stored: list[Stored]) -> tuple[Earlier, ...]:
        """Those that this version of Meshwright still reads."""
        found = []
        for each in stored:
            for document in as_file(each, self.kinds).documents:
                value = document.value
                held = value if isinstance(value, Service | Workload) else document.as_declared()
                assert isinstance(held, Declared | Service | Workload)  # noqa: S101 (there are no others)
                found.append(Earlier(self.source, revision_of(held), held))
        return tuple(found)
