"""A rollout as it is kept: what changes, by which plan, and how far it has come. It is read again after a restart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from documents.parsing import parse
from mesh.events import Declared, DocumentName
from mesh.names import Key
from mesh.rollout import Plan
from meshwright.editions import Instead
from meshwright.revisions import revision_of
from meshwright.rollout.machine import Phase, State
from policies.registry import KINDS

TOLD = 50
"""Lines of what happened to a rollout that are kept."""


@dataclass(frozen=True, slots=True)
class Version:
    """What `source` says of a document; None: nothing is there."""

    source: str
    value: Declared | None

    @property
    def revision(self) -> str:
        return "" if self.value is None else revision_of(self.value)


@dataclass(frozen=True, slots=True)
class Staged:
    """A document on its way from what it said before to what it says now."""

    name: DocumentName
    before: Version
    after: Version

    @property
    def instead(self) -> Instead:
        return Instead(self.before.source, self.before.value)

    def __str__(self) -> str:
        kind, key = self.name
        return f"{kind} {key}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for with a write itself, `at` some time (seconds since the epoch): its documents go out by `plan`, whatever policies say."""

    names: frozenset[DocumentName]
    plan: Plan
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """All that outlives the program. `settled`: of documents that went out by stages once, what everybody was given last: the sources' last
    good state may be older than that. `lost`: of what was read, in words, what this version cannot read any more and nobody misses; `in_force`:
    what everybody is given for that, though some or all were not to have it.
    """

    rollouts: tuple[Rollout, ...] = ()
    asked: tuple[Asked, ...] = ()
    settled: tuple[tuple[DocumentName, Version], ...] = ()
    lost: tuple[str, ...] = ()
    in_force: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """`at`: seconds since the epoch."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """`by`: what asked for it. `thresholds`: for each stage, below which point of a share its proxies stand; None: nobody has the change yet.
    `started`, `ended`: seconds since the epoch. `undone`: what became of the documents where they are kept, once it was withdrawn.
    `having`: how many proxies were there to be given its stage.
    """

    id: str
    documents: tuple[Staged, ...]
    plan: Plan
    by: str
    started: float
    state: State = field(default_factory=lambda: State(0, Phase.ACKNOWLEDGING, 0.0))
    thresholds: tuple[int, ...] | None = None
    ended: float | None = None
    undone: str = ""
    told: tuple[Line, ...] = ()
    having: int = 0

    @classmethod
    def of(cls, documents: Iterable[Staged], plan: Plan, by: str, now: float) -> Rollout:
        """A new one, of which nobody has anything yet."""
        given = tuple(sorted(documents, key=lambda each: each.name))
        digest = hashlib.blake2b(f"{now:.3f}".encode(), digest_size=4)
        for each in given:
            digest.update(f"{each} {each.before.revision} {each.after.revision}\n".encode())
        return cls(digest.hexdigest(), given, plan, by, now)

    @property
    def names(self) -> frozenset[DocumentName]:
        return frozenset(each.name for each in self.documents)

    @property
    def holding(self) -> bool:
        """Whether somebody is given something else than all sources say."""
        return self.ended is None

    def tell(self, at: float, words: str) -> Rollout:
        return replace(self, told=(*self.told, Line(at, words))[-TOLD:])

    def staged(self, name: DocumentName) -> Staged:
        """KeyError if it is not of this rollout."""
        for each in self.documents:
            if each.name == name:
                return each
        raise KeyError(name)

    def without(self, name: DocumentName) -> Rollout:
        return replace(self, documents=tuple(each for each in self.documents if each.name != name))


# As it is on the disk


@dataclass(frozen=True, slots=True)
class _Version:
    source: str
    text: str | None = None
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Staged:
    kind: str
    namespace: str
    name: str
    before: _Version
    after: _Version


@dataclass(frozen=True, slots=True)
class _Kept:
    id: str
    documents: tuple[_Staged, ...]
    plan: Plan
    by: str
    started: float
    state: State
    thresholds: tuple[int, ...] | None
    ended: float | None
    undone: str
    told: tuple[Line, ...]
    having: int


@dataclass(frozen=True, slots=True)
class _Asked:
    names: tuple[tuple[str, str, str], ...]
    plan: Plan
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class _Settled:
    kind: str
    namespace: str
    name: str
    version: _Version


@dataclass(frozen=True, slots=True)
class _File:
    rollouts: tuple[_Kept, ...] = ()
    asked: tuple[_Asked, ...] = ()
    settled: tuple[_Settled, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entries:
    """As `_File`, with entries that may be of another version."""

    rollouts: tuple[dict[str, Any], ...] = ()
    asked: tuple[dict[str, Any], ...] = ()
    settled: tuple[dict[str, Any], ...] = ()


_FILE = TypeAdapter(_File)
_ENTRIES = TypeAdapter(_Entries)
_ROLLOUT = TypeAdapter(_Kept)
_ASKED = TypeAdapter(_Asked)
_SETTLED = TypeAdapter(_Settled)


def encode(kept: Kept) -> bytes:
    return _FILE.dump_json(
        _File(
            tuple(_kept(each) for each in kept.rollouts),
            tuple(
                _Asked(
                    tuple(sorted((kind, key.namespace, key.name) for kind, key in each.names)),
                    each.plan,
                    each.by,
                    each.at,
                )
                for each in kept.asked
            ),
            tuple(
                _Settled(kind, key.namespace, key.name, _version(version))
                for (kind, key), version in kept.settled
            ),
        )
    )


def decode(content: bytes) -> Kept:
    """What `encode` made of it, entry by entry: one that cannot be read, as after a change of its schema, costs no other.

    ValueError, saying why, if this is nothing that `encode` made.
    """
    try:
        read = _ENTRIES.validate_json(content)
    except ValidationError as error:
        raise ValueError(f"it holds no rollouts: {_why(error)}") from None
    rollouts: list[Rollout] = []
    asked: list[Asked] = []
    settled: list[tuple[DocumentName, Version]] = []
    lost: list[str] = []
    in_force: list[str] = []
    for each in read.rollouts:
        holding = each.get("ended") is None
        try:
            rollout, unread = _read(_ROLLOUT.validate_json(json.dumps(each)))
        except ValueError as error:
            (in_force if holding else lost).append(f"rollout {each.get('id')}: {_why(error)}")
            continue
        (in_force if holding else lost).extend(f"rollout {rollout.id}: {why}" for why in unread)
        if rollout.documents:
            rollouts.append(rollout)
    for each in read.asked:
        try:
            asked.append(_read_asked(_ASKED.validate_json(json.dumps(each))))
        except ValueError as error:
            lost.append(f"what was asked for with a write: {_why(error)}")
    for each in read.settled:
        try:
            one = _SETTLED.validate_json(json.dumps(each))
            name = one.kind, Key(one.namespace, one.name)
            settled.append((name, _read_version(name, one.version)))
        except ValueError as error:
            lost.append(f"what everybody was given last: {_why(error)}")
    return Kept(tuple(rollouts), tuple(asked), tuple(settled), tuple(lost), tuple(in_force))


def _why(error: ValueError) -> str:
    return error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)


def _kept(each: Rollout) -> _Kept:
    return _Kept(
        each.id,
        tuple(
            _Staged(
                of.name[0], of.name[1].namespace, of.name[1].name, _version(of.before), _version(of.after)
            )
            for of in each.documents
        ),
        each.plan,
        each.by,
        each.started,
        each.state,
        each.thresholds,
        each.ended,
        each.undone,
        each.told,
        each.having,
    )


def _version(of: Version) -> _Version:
    if of.value is None:
        return _Version(of.source)
    return _Version(of.source, of.value.text, of.value.value.origin)


def _read_asked(kept: _Asked) -> Asked:
    names = frozenset((kind, Key(namespace, name)) for kind, namespace, name in kept.names)
    return Asked(names, kept.plan, kept.by, kept.at)


def _read(kept: _Kept) -> tuple[Rollout, list[str]]:
    """With the documents of which it can be read what was before; and, of the others, why they are left out of it."""
    documents, unread = [], []
    for each in kept.documents:
        name = each.kind, Key(each.namespace, each.name)
        try:
            before = _read_version(name, each.before)
        except ValueError as error:
            unread.append(f"what was before cannot be read any more: {error}")
            continue
        try:
            after = _read_version(name, each.after)
        except ValueError:
            # No source can say it any more. What was before can still be given.
            after = Version(each.after.source, None)
        documents.append(Staged(name, before, after))
    rollout = Rollout(
        kept.id,
        tuple(documents),
        kept.plan,
        kept.by,
        kept.started,
        kept.state,
        kept.thresholds,
        kept.ended,
        kept.undone,
        kept.told,
        kept.having,
    )
    return rollout, unread


def _read_version(name: DocumentName, kept: _Version) -> Version:
    if kept.text is None:
        return Version(kept.source, None)
    found = parse(kept.origin[0].partition("#")[0] if kept.origin else "", kept.text.encode(), KINDS)
    declared = next((each for each in found.declared() if each.name == name), None)
    if declared is None:
        why = str(found.errors[0]) if found.errors else "it is not in its text"
        raise ValueError(f"{name[0]} {name[1]}: {why}")
    value: Any = declared.value
    return Version(kept.source, replace(declared, value=replace(value, origin=kept.origin)))
