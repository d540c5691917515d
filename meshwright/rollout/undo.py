"""A change that was withdrawn is undone where it is kept: a further revision of the store, which puts back what was before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from documents.reading import Piece
from meshwright.rollout.record import Rollout, Staged
from meshwright.stores import STORE
from policies.registry import KINDS
from store.errors import StoreError
from store.repository import Repository
from store.sets import as_file
from store.stored import Stored
from store.writes import ABSENT, Delete, Put, Write

AUTHOR: Final = "meshwright"
ATTEMPTS: Final = 3
"""How often it is looked again which documents still are what was withdrawn, when others write meanwhile."""

Undo = Callable[[Rollout], Awaitable[str]]
"""Undoes a rollout where its documents are kept, and says what became of it. StoreError if it cannot be told, or be done, now."""


def undoing(repository: Repository | None) -> Undo:
    async def undo(rollout: Rollout) -> str:
        if repository is None:
            return _read_only(rollout.documents)
        for attempt in range(ATTEMPTS):
            try:
                return await _undone(repository, rollout)
            except StoreError:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    return undo


async def _undone(repository: Repository, rollout: Rollout) -> str:
    writes: list[Write] = []
    put_back: list[Staged] = []
    later: list[Staged] = []
    elsewhere: list[Staged] = []
    for each in rollout.documents:
        if STORE not in {each.before.source, each.after.source}:
            elsewhere.append(each)
            continue
        stored = await repository.get(*each.name)
        if _value(stored) != (None if each.after.value is None else each.after.value.value):
            later.append(each)
            continue
        put_back.append(each)
        writes.append(_write(each, stored))
    said = []
    if writes:
        revision = await repository.commit(
            writes, author=AUTHOR, reason=f"rollout {rollout.id}: {rollout.state.reason}"[:1000]
        )
        said.append(f"revision {revision.number} puts back {_named(put_back)}")
    if later:
        said.append(f"left alone, for it was written again: {_named(later)}")
    if elsewhere:
        said.append(_read_only(elsewhere))
    return "; ".join(said)


def _write(each: Staged, stored: Stored | None) -> Write:
    before = each.before.value
    version = stored.resource_version if stored is not None else None
    if before is None or each.before.source != STORE:
        return Delete(*each.name, resource_version=version)
    # As documents are read: another reader of YAML would take `on` for true, and write that.
    body: Any = Piece(1, before.text.encode()).tree()
    return Put(*each.name, body, resource_version=ABSENT if version is None else version)


def _value(stored: Stored | None) -> object:
    if stored is None:
        return None
    found = as_file(stored, KINDS).documents
    return found[0].value if found else stored  # what cannot be read is not what was withdrawn


def _read_only(documents: tuple[Staged, ...] | list[Staged]) -> str:
    return f"{_named(documents)} cannot be put back from here: no proxy gets what was withdrawn, until the file says something else"


def _named(documents: tuple[Staged, ...] | list[Staged]) -> str:
    return ", ".join(map(str, documents))
