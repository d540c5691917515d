"""Label and field selectors, as Kubernetes writes them: `app=web,tier!=db,env in (a, b),!old` and `metadata.name=api,spec.action!=deny`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from documents.reading import Tree

MAX: Final = 50
"""Requirements of one selector."""
_KEY: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,250}[A-Za-z0-9])?"
_VALUE: Final = r"[A-Za-z0-9._-]{0,63}"
_LABEL: Final = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<gone>{_KEY})"
    rf"|(?P<key>{_KEY})(?:\s*(?P<op>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<in>in|notin)\s*\((?P<values>[^()]{{0,2000}})\))?)\s*"
)
_FIELD: Final = re.compile(
    r"\s*(?P<path>[A-Za-z][A-Za-z0-9]{0,62}(?:\.[A-Za-z0-9_/-]{1,63}){0,10})\s*(?P<op>==|=|!=)\s*(?P<value>[^,]{0,253})"
)

Labels = Mapping[str, str]


class BadSelector(Exception):
    """`str()` says where it is wrong."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """That the value of `key` is one of `values`, or with `negated` that it is none; `values` None: that it is there at all."""

    key: str
    values: frozenset[str] | None
    negated: bool = False

    def holds(self, value: str | None) -> bool:
        found = value is not None and (self.values is None or value in self.values)
        return found is not self.negated


def label_selector(text: str) -> tuple[Requirement, ...]:
    """BadSelector. Empty text selects all."""
    return _parsed(text, _label)


def field_selector(text: str) -> tuple[Requirement, ...]:
    """BadSelector. A field that is not there has the value of empty text, as in Kubernetes."""
    return _parsed(text, _field)


def labels_match(requirements: tuple[Requirement, ...], labels: Labels) -> bool:
    return all(each.holds(labels.get(each.key)) for each in requirements)


def fields_match(requirements: tuple[Requirement, ...], document: Tree) -> bool:
    return all(each.holds(_value(document, each.key)) for each in requirements)


def _parsed(text: str, one: Callable[[str, int], tuple[Requirement, int]]) -> tuple[Requirement, ...]:
    found: list[Requirement] = []
    at = 0
    while at < len(text) or (found and text):
        requirement, at = one(text, at)
        found.append(requirement)
        if at == len(text):
            break
        if text[at] != "," or len(found) >= MAX:
            raise _bad(text, at)
        at += 1
    return tuple(found)


def _label(text: str, at: int) -> tuple[Requirement, int]:
    found = _LABEL.match(text, at)
    if found is None:
        raise _bad(text, at)
    if found["absent"]:
        return Requirement(found["gone"], None, negated=True), found.end()
    if found["in"]:
        values = frozenset(value.strip() for value in found["values"].split(","))
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise _bad(text, found.start("values"))
        return Requirement(found["key"], values, negated=found["in"] == "notin"), found.end()
    if found["op"]:
        return Requirement(
            found["key"], frozenset({found["value"]}), negated=found["op"] == "!="
        ), found.end()
    return Requirement(found["key"], None), found.end()


def _field(text: str, at: int) -> tuple[Requirement, int]:
    found = _FIELD.match(text, at)
    if found is None:
        raise _bad(text, at)
    return Requirement(
        found["path"], frozenset({found["value"].strip()}), negated=found["op"] == "!="
    ), found.end()


def _value(document: Tree, path: str) -> str:
    at: Tree = document
    for step in path.split("."):
        at = at.get(step) if isinstance(at, dict) else None
    if isinstance(at, bool):
        return "true" if at else "false"
    return str(at) if isinstance(at, str | int | float) else ""


def _bad(text: str, at: int) -> BadSelector:
    return BadSelector(f"character {at + 1} of the selector {text[:200]!r} is not understood")
