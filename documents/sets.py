"""All documents of a directory, as one frozen value: which of them are in force, and what is wrong with the rest.

What is taken or refused is a file, always whole, so that what its author wrote together takes effect together:

- A file with any error is refused. What it held when it was last right stays in force, so a slip of the keyboard
  takes nothing from the mesh; a file that was never right contributes nothing. The other files are not concerned.
- Where two files claim the same name or the same virtual address, the one that held it before keeps it, and the
  newcomer's file is refused with both names. Between newcomers, the first by file name wins.
- A workload whose service no document declares makes its file a refused one too. If a later change elsewhere takes
  the service away, the workload's file is told of the error and stays in force: it does no harm without a service.
- Every refused file is tried again whenever any file changes, so the order of edits does not matter in the end.

Only what changed is worked on: to read one file again among hundreds costs what that file costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from immutables import Map

from documents.checks import cautions, dangling, references
from documents.errors import Caution, Conflict, DocumentError, Where
from documents.listening import Listeners, moved, neighbours, shared
from documents.parsing import Document, ParsedFile, Places, duplicate
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.service import Service

Name = tuple[str, Key]
"""The kind and key of a document."""


@dataclass(frozen=True, slots=True)
class FileState:
    """One file. `held` is what of it is in force: `latest`, or what it was when it was last right, or nothing."""

    latest: ParsedFile
    held: ParsedFile | None
    errors: tuple[DocumentError, ...] = ()
    cautions: tuple[Caution, ...] = ()

    @property
    def refused(self) -> bool:
        return self.held is not self.latest


@dataclass(frozen=True, slots=True)
class DocumentSet:
    """Everything that is known of a directory. `DocumentSet()` is an empty one.

    `failure` says why the directory as a whole cannot be read; the rest is then what it was before. `skipped` are files that
    look like documents and are not read, for their names. `alone`: these documents are all that declare services (see `checks.dangling`).
    """

    files: Map[str, FileState] = Map()
    failure: str = ""
    skipped: tuple[str, ...] = ()
    index: Map[Name, Document] = field(default=Map(), repr=False)
    addresses: Map[str, Document] = field(default=Map(), repr=False)
    listeners: Listeners = field(default=Map(), repr=False)
    alone: bool = True

    def with_files(
        self, read: Iterable[ParsedFile], gone: Iterable[str] = (), skipped: tuple[str, ...] = ()
    ) -> DocumentSet:
        """The set after some files were read again and some are there no more; `skipped` are all of those. Ends any failure."""
        settled = _settled(self, {each.file: each for each in read}, frozenset(gone))
        return replace(settled, skipped=skipped)

    def failed(self, reason: str) -> DocumentSet:
        """The same documents, while the directory cannot be read."""
        return replace(self, failure=reason)

    @property
    def documents(self) -> Iterator[Document]:
        """Those in force, by file name and place."""
        for _, state in sorted(self.files.items()):
            if state.held is not None:
                yield from state.held.documents

    @property
    def errors(self) -> tuple[DocumentError, ...]:
        wrong = sorted((file, state.errors) for file, state in self.files.items() if state.errors)
        return tuple(error for _, errors in wrong for error in errors)

    @property
    def warnings(self) -> tuple[Caution, ...]:
        skipped = (
            Caution(
                Where(file), "the file is not read, for its name", "Documents are YAML, in *.yaml and *.yml"
            )
            for file in self.skipped
        )
        doubtful = sorted((file, state.cautions) for file, state in self.files.items() if state.cautions)
        return (*skipped, *(each for _, cautions in doubtful for each in cautions))

    def service(self, key: Key) -> Service | None:
        found = self.index.get(("Service", key))
        return found.value if found is not None and isinstance(found.value, Service) else None

    def to_snapshot(self, source: str) -> SourceSnapshot:
        """What is in force, as the whole answer of a source."""
        held = [state.held for _, state in sorted(self.files.items()) if state.held is not None]
        return SourceSnapshot(
            source,
            tuple(service for each in held for service in each.services()),
            tuple(workload for each in held for workload in each.workloads()),
            tuple(declared for each in held for declared in each.declared()),
        )


def _settled(old: DocumentSet, read: Mapping[str, ParsedFile], gone: frozenset[str]) -> DocumentSet:
    again = {
        file: state.latest
        for file, state in old.files.items()
        if state.refused and file not in read and file not in gone
    }
    latest = {**again, **read}
    refused: dict[str, tuple[DocumentError, ...]] = {
        file: parsed.errors for file, parsed in latest.items() if parsed.errors
    }
    trial = _Trial(old, latest, gone)
    while not trial.attempt(refused):
        pass  # Each attempt that fails has refused one more file, or some.
    new = replace(trial.taken(), failure="")
    files = old.files.mutate()
    for file in gone:
        files.pop(file, None)
    for file, parsed in latest.items():
        before = old.files.get(file)
        held = parsed if file not in refused else before.held if before else None
        files[file] = FileState(parsed, held, refused.get(file, ()))
    settled = replace(new, files=files.finish())
    touched = latest.keys() | gone
    were = [document for file in touched for document in _held(old, file)]
    are = [document for file in touched for document in _held(settled, file)]
    settled = replace(settled, listeners=moved(old.listeners, were, are))
    beside = {document.where.file for document in neighbours(settled.listeners, (*were, *are))}
    return _told(settled, latest.keys() | beside, _moved_services(old, settled, touched))


class _Trial:
    """Finds out which of some files can be taken into a set together."""

    def __init__(self, old: DocumentSet, latest: Mapping[str, ParsedFile], gone: frozenset[str]) -> None:
        self.old = old
        self.latest = latest
        index, addresses = old.index.mutate(), old.addresses.mutate()
        for file in (*latest, *gone):
            for document in _held(old, file):
                index.pop(document.name, None)
                if isinstance(document.value, Service):
                    addresses.pop(document.value.virtual_address, None)
        self.base = replace(old, index=index.finish(), addresses=addresses.finish())
        self._index: dict[Name, Document] = {}
        self._addresses: dict[str, Document] = {}

    def attempt(self, refused: dict[str, tuple[DocumentError, ...]]) -> bool:
        """Whether all files can be taken, but for those `refused`, which may have become more."""
        self._index, self._addresses = {}, {}
        for file in refused:
            self._take(_held(self.old, file))
        candidates = sorted(file for file in self.latest if file not in refused)
        reserved = {
            document.name: file
            for file in candidates
            for document in self.latest[file].documents
            if self._held_before(document)
        }
        for file in candidates:
            clashes = tuple(self._clashes(file, reserved))
            if not clashes:
                self._take(self.latest[file].documents)
                continue
            refused[file] = clashes
            if any(self._claimed(document) for document in _held(self.old, file)):
                return False  # What it falls back to is claimed by a file that was taken in this attempt.
            self._take(_held(self.old, file))
        lost = {
            file: errors
            for file in candidates
            if file not in refused
            if (
                errors := tuple(
                    each
                    for d in self.latest[file].documents
                    for each in dangling(d, self._service, alone=self.old.alone)
                )
            )
        }
        refused.update(lost)
        return not lost

    def taken(self) -> DocumentSet:
        """The base with what the last attempt took."""
        return replace(
            self.base,
            index=self.base.index.update(self._index),
            addresses=self.base.addresses.update(self._addresses),
        )

    def _take(self, documents: Iterable[Document]) -> None:
        for document in documents:
            self._index[document.name] = document
            if isinstance(document.value, Service):
                self._addresses[document.value.virtual_address] = document

    def _held_before(self, document: Document) -> bool:
        before = self.old.index.get(document.name)
        return before is not None and before.where.file == document.where.file

    def _holder(self, document: Document) -> Document | None:
        return self._index.get(document.name) or self.base.index.get(document.name)

    def _address_holder(self, address: str) -> Document | None:
        return self._addresses.get(address) or self.base.addresses.get(address)

    def _claimed(self, document: Document) -> bool:
        """Whether another document has the name or the address of `document`."""
        if self._holder(document) is not None:
            return True
        service = document.value
        return isinstance(service, Service) and self._address_holder(service.virtual_address) is not None

    def _service(self, key: Key) -> Service | None:
        found = self._index.get(("Service", key)) or self.base.index.get(("Service", key))
        return found.value if found is not None and isinstance(found.value, Service) else None

    def _clashes(self, file: str, reserved: Mapping[Name, str]) -> Iterator[DocumentError]:
        own: dict[str, Document] = {}
        for document in self.latest[file].documents:
            holder = self._holder(document)
            if holder is None and reserved.get(document.name, file) != file:
                holder = self.old.index[document.name]
            if holder is not None:
                yield duplicate(document, holder)
            elif isinstance(document.value, Service):
                address = document.value.virtual_address
                other = own.get(address) or self._address_holder(address)
                own[address] = document
                if other is not None:
                    yield _collision(document, other, address)


def _collision(newcomer: Document, holder: Document, address: str) -> Conflict:
    return Conflict(
        Places(newcomer)("spec", "address"),
        f"its virtual address {address} is that of service {holder.key} already ({holder.where})",
        "Set spec.address of one of the two",
    )


def _held(documents: DocumentSet, file: str) -> tuple[Document, ...]:
    state = documents.files.get(file)
    return state.held.documents if state is not None and state.held is not None else ()


def _moved_services(old: DocumentSet, new: DocumentSet, files: Iterable[str]) -> frozenset[Key]:
    """The services that came, went or changed with `files`."""
    keys = {
        document.key
        for file in files
        for each in (old, new)
        for document in _held(each, file)
        if isinstance(document.value, Service)
    }
    return frozenset(key for key in keys if old.service(key) != new.service(key))


def _told(documents: DocumentSet, changed: Iterable[str], services: frozenset[Key]) -> DocumentSet:
    """`documents`, with what is to be told of each file of `changed`, and of those that name one of `services`."""
    concerned = set(changed)
    if services:
        concerned.update(
            document.where.file
            for state in documents.files.values()
            for document in (state.held.documents if state.held is not None else ())
            if not services.isdisjoint(references(document))
        )
    files = documents.files.mutate()
    for file in concerned:
        state = documents.files[file]
        held = state.held.documents if state.held is not None else ()
        told = tuple(
            replace(caution, superseded=state.refused)
            for each in held
            for caution in (*cautions(each, documents.service), *shared(each, documents.listeners))
        )
        errors = state.errors
        if not state.refused:
            errors = tuple(
                error for each in held for error in dangling(each, documents.service, alone=documents.alone)
            )
        files[file] = replace(state, errors=errors, cautions=told)
    return replace(documents, files=files.finish())
