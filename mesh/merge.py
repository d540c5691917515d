"""Which of several policies of one kind prevails, field by field.

Order: mesh < namespace < service < workload < route < fields inside a route. The nearest wins, for each field by
itself, nested ones too; a list is one value and is replaced whole. Ties go to the older: by creation time, those that
have one before those that have none, then by namespace and name. What is `enforced` at mesh or namespace level cannot
be overridden from below, so that of two enforced values the farther wins. Whether a policy names its callers makes it
no nearer. Policies that are a union instead of an override (access) do not use this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from immutables import Map

from mesh.age import seniority
from mesh.errors import InvalidAttachment
from mesh.names import Key
from mesh.targeting import CallerRef, Level, Subject, TargetRef, concerns

Scalar = str | int | float | bool | None
Value = Scalar | tuple["Value", ...] | Map[str, "Value"]
Fields = Map[str, Value]
"""Nested fields, frozen. None is a value like any other; what is not said is not there."""
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """One policy at one of its targets. Raises InvalidAttachment if it is enforced below the namespace level."""

    key: Key
    target: TargetRef
    fields: Fields
    callers: tuple[CallerRef, ...] = ()
    enforced: bool = False
    created: datetime | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.enforced and self.target.level > Level.NAMESPACE:
            raise InvalidAttachment(
                f"{self.key} is enforced at {self.target}: only the mesh or a namespace can enforce. "
                "Remove `enforced`, or target the namespace"
            )

    def applies(self, subject: Subject) -> bool:
        return self.target.covers(subject) and concerns(self.callers, subject.caller)


@dataclass(frozen=True, slots=True)
class Merged:
    """What holds for a subject. `origins` names, for the path of each value that is no mapping, the policy it is of; `documents` are
    those that took part, as provenance.
    """

    fields: Fields = Map()
    origins: Map[Path, Key] = Map()
    documents: tuple[str, ...] = field(default=(), compare=False)


def merge(attachments: Iterable[Attachment], subject: Subject) -> Merged:
    """What the attachments that apply to `subject` say together. Their order does not matter."""
    return combine(each for each in attachments if each.applies(subject))


def combine(attachments: Iterable[Attachment]) -> Merged:
    """What attachments that all apply say together. Their order does not matter."""
    fields: dict[str, _Draft] = {}
    origins: dict[Path, Key] = {}
    documents: dict[str, None] = {}
    for each in sorted(attachments, key=_precedence):
        _fill(fields, each.fields, (), each.key, origins)
        documents.update(dict.fromkeys(each.origin))
    return Merged(_frozen(fields), Map(origins), tuple(documents))


def nearest(attachments: Iterable[Attachment]) -> Merged:
    """What the strongest of them says, and nothing of the others: for kinds whose fields are conditions and effects of one thing."""
    found = sorted(attachments, key=_precedence)
    return combine(found[:1])


def freeze(fields: Mapping[str, object]) -> Fields:
    """Fields from plain mappings, lists and scalars. Raises TypeError for anything else."""
    return Map({str(name): _freeze(value) for name, value in fields.items()})


def thawed(fields: Fields) -> dict[str, object]:
    """Plain mappings and lists again."""

    def thaw(value: object) -> object:
        if isinstance(value, Map):
            return {name: thaw(each) for name, each in value.items()}
        return [thaw(each) for each in value] if isinstance(value, tuple) else value

    return {name: thaw(value) for name, value in fields.items()}


_Draft = Value | dict[str, "_Draft"]


def _precedence(each: Attachment) -> tuple[object, ...]:
    """Sorts the strongest first."""
    level = each.target.level
    return (0, level) if each.enforced else (1, -level), seniority(each.created), each.key, each.target


def _fill(into: dict[str, _Draft], fields: Fields, path: Path, key: Key, origins: dict[Path, Key]) -> None:
    """Add what `fields` say and `into` does not yet."""
    for name, value in fields.items():
        here = (*path, name)
        if isinstance(value, Map):
            nested = into.setdefault(name, {})
            if isinstance(nested, dict):
                _fill(nested, value, here, key, origins)
        elif name not in into:
            into[name] = value
            origins[here] = key


def _frozen(draft: Mapping[str, _Draft]) -> Fields:
    return Map({name: _frozen(value) if isinstance(value, dict) else value for name, value in draft.items()})


def _freeze(value: object) -> Value:
    match value:
        case Mapping():
            return freeze(value)
        case list() | tuple():
            return tuple(_freeze(each) for each in value)
        case str() | int() | float() | bool() | None:
            return value
        case _:
            raise TypeError(f"{type(value).__name__} cannot be a field of a policy")
