"""Sets of fields of documents, and how they are written down. Pure.

A field is a path to a value that is taken as a whole: a scalar, an empty mapping, or a list. A few lists are mappings in disguise, by a field
that is unique in them (LISTS): there the path goes on into the element. They are written as Kubernetes does (FieldsV1): `f:` before a
field, `k:` before the key of an element, `.` for the thing itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from documents.reading import Tree

LISTS: Final[Mapping[tuple[str, ...], str]] = {
    ("Service", "spec", "ports"): "name",
    ("Workload", "spec", "ports"): "name",
    ("ExternalService", "spec", "ports"): "name",
    ("Gateway", "spec", "listeners"): "name",
    ("ListenerSet", "spec", "listeners"): "name",
}
"""Lists whose elements have names, by kind and path, as the Gateway API declares for its own. All other lists are one value."""


@dataclass(frozen=True, slots=True, order=True)
class Element:
    """A step into a list: to the element whose `key` is `value`."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"[{self.key}={self.value}]"


Step = str | Element
FieldPath = tuple[Step, ...]
Fields = frozenset[FieldPath]

NOT_OWNED: Final = frozenset(
    {
        ("apiVersion",),
        ("kind",),
        ("metadata", "name"),
        ("metadata", "namespace"),
        *(
            ("metadata", name)
            for name in (
                "creationTimestamp",
                "uid",
                "resourceVersion",
                "generation",
                "managedFields",
            )
        ),
    }
)
"""What names a document, or is the store's to say: nobody's."""


def fields_of(kind: str, document: Mapping[str, Tree]) -> dict[FieldPath, Tree]:
    """Every field of a document that can be owned, with its value."""
    found: dict[FieldPath, Tree] = {}
    for name in document:
        if name != "status":
            found.update(_fields(kind, (name,), (name,), document[name]))
    return found


def _fields(
    kind: str, path: FieldPath, names: tuple[str, ...], value: Tree
) -> Iterator[tuple[FieldPath, Tree]]:
    """`names` is `path` without its elements."""
    if path in NOT_OWNED:
        return
    elements = by_key(kind, names, value)
    if elements is not None:
        for element, each in elements.items():
            yield (*path, element, element.key), element.value
            for name, below in each.items():
                if name != element.key:
                    yield from _fields(kind, (*path, element, name), (*names, name), below)
    elif isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _fields(kind, (*path, name), (*names, name), below)
    else:
        yield path, value


def by_key(kind: str, names: tuple[str, ...], value: Tree) -> dict[Element, dict[str, Tree]] | None:
    """The elements of a list that is a mapping in disguise; None for all else, and for one whose elements lack or repeat their key."""
    key = LISTS.get((kind, *names))
    if key is None or not isinstance(value, list) or not value:
        return None
    found: dict[Element, dict[str, Tree]] = {}
    for each in value:
        name = each.get(key) if isinstance(each, dict) else None
        if not isinstance(each, dict) or not isinstance(name, str) or Element(key, name) in found:
            return None
        found[Element(key, name)] = each
    return found


def shown(path: FieldPath) -> str:
    """`spec.listeners[name=http].port`."""
    text = ""
    for step in path:
        text += str(step) if isinstance(step, Element) or not text else f".{step}"
    return text


def overlapping(one: FieldPath, other: FieldPath) -> bool:
    """Whether they are the same, or one holds the other."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def written(fields: Iterable[FieldPath]) -> dict[str, Tree]:
    """As FieldsV1."""
    root: dict[str, Tree] = {}
    for path in sorted(fields, key=shown):
        at = root
        for step in path:
            below = at.setdefault(_name(step), {})
            assert isinstance(below, dict)  # noqa: S101 (made here)
            at = below
        at["."] = {}
    return _bare(root)


def _bare(tree: dict[str, Tree]) -> dict[str, Tree]:
    """Without the mark of what ends here where nothing else does, as Kubernetes writes it."""
    result: dict[str, Tree] = {}
    for name, below in tree.items():
        if isinstance(below, dict) and name != ".":
            result[name] = {} if below.keys() == {"."} else _bare(below)
        else:
            result[name] = below
    return result


def read(tree: Tree) -> Fields:
    """The reverse of `written`. What is not understood is left out: it owns nothing."""
    return frozenset(_read(tree, ()))


def _read(tree: Tree, path: FieldPath) -> Iterator[FieldPath]:
    if not isinstance(tree, dict):
        return
    if not tree or "." in tree:
        yield path
    for name, below in tree.items():
        step = _step(name)
        if step is not None:
            yield from _read(below, (*path, step))


def _name(step: Step) -> str:
    if isinstance(step, Element):
        return "k:" + json.dumps({step.key: step.value}, separators=(",", ":"), ensure_ascii=False)
    return f"f:{step}"


def _step(name: str) -> Step | None:
    if name.startswith("f:"):
        return name[2:]
    if name.startswith("k:"):
        try:
            keys = json.loads(name[2:])
        except ValueError:
            return None
        if isinstance(keys, dict) and len(keys) == 1:
            ((key, value),) = keys.items()
            return Element(str(key), str(value))
    return None
