"""One way for every write: planned on the store as it is, checked whole, told what it does, committed at once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from api.drafts import Draft
from api.errors import Conflicting, Unavailable, Unprocessable
from api.shapes.documents import Warned, WriteAnswer, WriteEffects, Written
from api.standing import Stand, Standing
from api.store_errors import answered
from discovery.file import difference
from documents.errors import Caution, DocumentError
from documents.errors import Conflict as Taken
from documents.parsing import Document, ParsedFile, duplicate
from documents.reading import Tree
from documents.sets import DocumentSet
from mesh.events import SourceUpdate
from mesh.names import Key
from mesh.service import Service
from store.errors import Conflict
from store.repository import Repository
from store.revision import Revision
from store.sets import file_of
from store.stored import Managed, Name, Stored
from store.writes import Delete, Put

ATTEMPTS: Final = 8
"""How often a write is planned anew because another replica has changed the same documents meanwhile."""
MAX_PROBLEMS: Final = 200
MAX_WARNINGS: Final = 200


@dataclass(frozen=True, slots=True)
class PlannedPut:
    """A document to be written; `managed` None: its owners stay as they are."""

    draft: Draft
    managed: Managed | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one write does to the documents that it was planned on."""

    puts: tuple[PlannedPut, ...] = ()
    deletes: tuple[Name, ...] = ()


Permit = Callable[[Stand, Plan], None]
"""Forbidden, unless what was planned may be done to what there is. It may take a while: it is called in a thread."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a write would do to the mesh."""

    effects: WriteEffects
    warnings: tuple[Warned, ...] = ()


class Foresight(Protocol):
    """Says what the mesh would become by an event of the store: called on the event loop, it returns what says so. That works for some
    time: it is called in a thread, one at a time.
    """

    def __call__(self) -> Callable[[SourceUpdate], Foreseen]: ...


NOTHING: Final = Foreseen(WriteEffects(proxies=0, services=0, resources=0, about=False))


@dataclass(frozen=True, slots=True)
class _Checked:
    documents: tuple[Document, ...]
    foreseen: Foreseen
    warnings: tuple[Warned, ...] = field(default=())


class Writer:
    """Writes, one at a time. Another replica's writes meet ours in the store, which tells us."""

    def __init__(
        self,
        repository: Repository,
        standing: Standing,
        files: Callable[[], DocumentSet],
        foresight: Foresight,
        source: str,
    ) -> None:
        """`files`: the documents that others than the store have. `source` is the store's name among the sources of the mesh."""
        self._repository = repository
        self._standing = standing
        self._files = files
        self._foresight = foresight
        self._source = source
        self._one = asyncio.Lock()

    async def write(
        self, plan: Callable[[Stand], Plan], *, permit: Permit, author: str, reason: str, dry_run: bool
    ) -> WriteAnswer:
        """Plan on the store as it is (in a thread), and do it. ApiError: nothing was written (or, where it says so, nobody knows)."""
        async with self._one:
            for _ in range(ATTEMPTS):
                with answered():
                    stand = await self._standing.at_head()
                planned = await asyncio.to_thread(plan, stand)
                await asyncio.to_thread(permit, stand, planned)
                # In a thread in any case: a policy may concern every service.
                checked = await asyncio.to_thread(
                    self._checked, stand, planned, self._files(), self._foresight()
                )
                with answered():
                    try:
                        revision = await self._repository.commit(
                            _writes(checked.documents, planned),
                            author=author,
                            reason=reason,
                            expect=stand.revision,
                            dry_run=dry_run,
                        )
                    except Conflict:
                        continue
                return await asyncio.to_thread(_answer, stand, planned, checked, revision, dry_run=dry_run)
        raise Unavailable(
            f"others have changed these documents each time before us, {ATTEMPTS} times: nothing was written; try again"
        )

    async def rollback(
        self, to: int, *, permit: Permit, author: str, reason: str, dry_run: bool
    ) -> WriteAnswer:
        """All documents as they were at revision `to`, as a new revision; refused whole where they cannot be in force now. ApiError."""
        async with self._one:
            with answered():
                stand = await self._standing.at_head()
                then = (await self._repository.documents(to)).documents
            planned = await asyncio.to_thread(_back, stand.stored, then)
            await asyncio.to_thread(permit, stand, planned)
            checked = await asyncio.to_thread(self._checked, stand, planned, self._files(), self._foresight())
            with answered():
                if dry_run:
                    revision = await self._repository.commit(
                        _writes(checked.documents, planned), author=author, reason=reason, dry_run=True
                    )
                else:
                    revision = await self._repository.rollback(to, author=author, reason=reason)
            return await asyncio.to_thread(
                _answer, stand, planned, checked, revision, dry_run=dry_run, then=then
            )

    def _checked(
        self, stand: Stand, planned: Plan, held: DocumentSet, foresee: Callable[[SourceUpdate], Foreseen]
    ) -> _Checked:
        """Unprocessable or Conflicting, with everything that is wrong."""
        parsed = [
            self._standing.parsed(each.draft.kind, each.draft.key, stand.revision + 1, _mapping(each.draft))
            for each in planned.puts
        ]
        drafts = {file.file: put.draft for file, put in zip(parsed, planned.puts, strict=True)}
        _refuse(_wrong(parsed, planned))
        documents = tuple(document for file in parsed for document in file.documents)
        found: list[tuple[Draft, DocumentError]] = [
            (drafts[document.where.file], error) for document in documents for error in _held(document, held)
        ]
        gone = [file_of(name) for name in planned.deletes]
        new = stand.read.with_files(parsed, gone)
        for file, each in drafts.items():
            if new.files[file].refused:
                found.extend((each, error) for error in new.files[file].errors)
        _refuse(found)
        event = difference(self._source, stand.read, new)
        foreseen = foresee(event) if event is not None else NOTHING
        return _Checked(documents, foreseen, tuple(_cautions(stand.read, new, drafts)))


def _back(now: Mapping[Name, Stored], then: Mapping[Name, Stored]) -> Plan:
    """What leads from the documents of `now` to those of `then`."""
    return Plan(
        tuple(
            PlannedPut(Draft(dict(stored.body)), stored.managed)
            for name, stored in then.items()
            if now.get(name) != stored
        ),
        tuple(name for name in now if name not in then),
    )


def _mapping(draft: Draft) -> Mapping[str, Tree]:
    return draft.tree if isinstance(draft.tree, dict) else {"": draft.tree}


def _wrong(parsed: Iterable[ParsedFile], planned: Plan) -> list[tuple[Draft, DocumentError]]:
    """What is wrong with each by itself, and what is written twice."""
    found: list[tuple[Draft, DocumentError]] = []
    seen: dict[str, Draft] = {}
    deleted = {file_of(name) for name in planned.deletes}
    for file, put in zip(parsed, planned.puts, strict=True):
        found.extend((put.draft, error) for error in file.errors)
        if file.documents and (file.file in seen or file.file in deleted):
            where = file.documents[0].where
            twice = "deleted" if file.file in deleted else "written"
            found.append(
                (put.draft, Taken(where, f"it is {twice} in this request too", "Leave one of the two out"))
            )
        seen[file.file] = put.draft
    return found


def _held(document: Document, files: DocumentSet) -> Iterator[DocumentError]:
    """What documents of files have already: they are changed where they are."""
    holder = files.index.get(document.name)
    if holder is not None:
        error = duplicate(document, holder)
        yield Taken(
            error.where,
            error.reason,
            f"Change it in that file, which the API does not write ({holder.where.file})",
        )
    elif isinstance(document.value, Service):
        address = document.value.virtual_address
        other = files.addresses.get(address)
        if other is not None:
            yield Taken(
                document.where,
                f"its virtual address {address} is that of {other.kind} {other.key} already ({other.where})",
                "Set spec.address of one of the two",
            )


def _refuse(found: list[tuple[Draft, DocumentError]]) -> None:
    if not found:
        return
    problems = tuple(draft.problem(error) for draft, error in found[:MAX_PROBLEMS])
    more = f" (the first {MAX_PROBLEMS} are told)" if len(found) > MAX_PROBLEMS else ""
    first = found[0][1]
    detail = f"{first.where.subject or found[0][0]}: {first.reason}. {first.remedy}"
    if len(found) > 1:
        detail = f"{len(found)} things are wrong{more}, nothing was written. The first: {detail}"
    taken = all(isinstance(error, Taken) for _, error in found)
    raise (Conflicting if taken else Unprocessable)(detail, errors=problems)


def _cautions(old: DocumentSet, new: DocumentSet, drafts: Mapping[str, Draft]) -> Iterator[Warned]:
    """What is allowed and probably not meant: in what is written, and in what that leaves behind."""
    for file, state in new.files.items():
        before = old.files.get(file)
        if state is before:
            continue
        told = {*(before.errors if before else ()), *(before.cautions if before else ())}
        now: tuple[DocumentError | Caution, ...] = (
            *(() if file in drafts else state.errors),
            *state.cautions,
        )
        for each in now:
            if each not in told:
                at = f"{each.where.path}: " if each.where.path else ""
                yield Warned(document=each.where.subject, warning=f"{at}{each.reason}. {each.remedy}")


def _writes(documents: tuple[Document, ...], planned: Plan) -> list[Put | Delete]:
    puts: list[Put | Delete] = [
        Put(document.kind, document.key, _mapping(put.draft), managed=put.managed)
        for document, put in zip(documents, planned.puts, strict=True)
    ]
    return [*puts, *(Delete(kind, key) for kind, key in planned.deletes)]


def _answer(
    stand: Stand,
    planned: Plan,
    checked: _Checked,
    revision: Revision,
    *,
    dry_run: bool,
    then: Mapping[Name, Stored] | None = None,
) -> WriteAnswer:
    """`then`: what was gone back to; documents have the versions again that they had there."""
    changed = {change.name for change in revision.changes}
    changes = []
    for document in checked.documents:
        name = document.kind, document.key
        before = stand.stored.get(name)
        held = before if name not in changed else then.get(name) if then is not None else None
        version = held.resource_version if held is not None else str(revision.number)
        changes.append(
            _written(
                "unchanged" if name not in changed else "created" if before is None else "changed",
                name,
                version,
            )
        )
    changes += [_written("deleted" if name in changed else "unchanged", name, "") for name in planned.deletes]
    warnings = (*checked.warnings, *checked.foreseen.warnings)
    return WriteAnswer(
        revision=revision.number,
        revision_id=revision.id,
        dry_run=dry_run,
        changes=tuple(changes),
        effects=checked.foreseen.effects,
        warnings=warnings[:MAX_WARNINGS],
    )


def _written(op: str, name: tuple[str, Key], version: str) -> Written:
    kind, key = name
    return Written.model_validate(
        {"op": op, "kind": kind, "namespace": key.namespace, "name": key.name, "resource_version": version}
    )
