"""Conditions on a connection and a request, as one tree: what the rules of access policies come to, for Envoy and for the evaluator alike.

A tree is normal: what is always true or never true is folded away, so that nothing but `ALWAYS` itself is always true by its form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class How(Enum):
    """How a text is held against what is there. `REGEX`: the whole of it, RE2."""

    EXACT = auto()
    PREFIX = auto()
    SUFFIX = auto()
    CONTAINS = auto()
    REGEX = auto()


@dataclass(frozen=True, slots=True)
class Text:
    """`any_case` makes no sense of a regular expression, which says so itself."""

    how: How
    value: str
    any_case: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller's certificate was verified, and one of its URI names is so."""

    text: Text


@dataclass(frozen=True, slots=True)
class Address:
    """The connection comes from this network (CIDR): the direct peer, whatever a header says of others before it."""

    network: str


@dataclass(frozen=True, slots=True)
class Header:
    """The header is there (`text` None), and says so; of several of one name, one of them. (Before 1.38 Envoy held all of them, with commas
    between, against the text.) Names are in lower case, `:method` and `:authority` among them.
    """

    name: str
    text: Text | None = None


@dataclass(frozen=True, slots=True)
class PathIs:
    """The path of the request, normalised, without the query."""

    text: Text


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a verified token, by the names that lead to it, is there (`value` None), is this, or is a list that has it."""

    path: tuple[str, ...]
    value: Text | bool | float | None = None


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition


Condition = Identity | Address | Header | PathIs | Claim | Every | Either | Not
ALWAYS: Final = Every(())
NEVER: Final = Either(())


def every(parts: Iterable[Condition]) -> Condition:
    found: dict[Condition, None] = {}
    for each in parts:
        if each == NEVER:
            return NEVER
        found.update(dict.fromkeys(each.parts if isinstance(each, Every) else (each,)))
    return _one(tuple(found), Every)


def either(parts: Iterable[Condition]) -> Condition:
    found: dict[Condition, None] = {}
    for each in parts:
        if each == ALWAYS:
            return ALWAYS
        found.update(dict.fromkeys(each.parts if isinstance(each, Either) else (each,)))
    return _one(tuple(found), Either)


def negated(part: Condition) -> Condition:
    if part == ALWAYS:
        return NEVER
    if part == NEVER:
        return ALWAYS
    return part.part if isinstance(part, Not) else Not(part)


def _one(parts: tuple[Condition, ...], kind: type[Every | Either]) -> Condition:
    return parts[0] if len(parts) == 1 else kind(parts)
