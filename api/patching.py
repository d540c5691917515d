"""JSON merge patch (RFC 7396) and JSON patch (RFC 6902) on documents. Pure."""

from __future__ import annotations

import copy
import re
from typing import Final, Literal

from pydantic import Field, JsonValue, RootModel

from api.errors import Conflicting, Unprocessable
from api.shapes.shape import Shape
from documents.reading import Tree

MERGE: Final = "application/merge-patch+json"
PATCH: Final = "application/json-patch+json"
MAX_OPERATIONS: Final = 1000
MAX_COPIED: Final = 100_000
"""Values that the operations of one patch may copy in all: a few lines that copy a document into itself would mean gigabytes."""
_POINTER: Final = r"^(/([^~/]|~[01])*)*$"
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


class Operation(Shape):
    """One operation of a JSON patch."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str = Field(pattern=_POINTER, description="A JSON pointer (RFC 6901).")
    from_: str | None = Field(default=None, alias="from", pattern=_POINTER)
    value: JsonValue = None


class JsonPatch(RootModel[list[Operation]]):
    """A JSON patch (RFC 6902)."""

    root: list[Operation] = Field(max_length=MAX_OPERATIONS)


def merged(target: Tree, patch: Tree) -> Tree:
    """`target` with a merge patch: mappings are merged, null removes, all else replaces. Neither is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def patched(target: Tree, patch: JsonPatch) -> Tree:
    """`target` with all operations of a JSON patch, which is not changed itself. Conflicting if a test fails; Unprocessable if a place is not there."""
    result = copy.deepcopy(target)
    copied = 0
    for number, each in enumerate(patch.root):
        if each.op == "copy" and each.from_ is not None:
            copied += _values(_at(result, _steps(each.from_), f"operation {number} (copy)"))
            if copied > MAX_COPIED:
                raise Unprocessable(
                    f"operation {number} (copy): the patch copies more than {MAX_COPIED:,} values: send the document whole"
                )
        result = _one(result, each, number)
    return result


def _values(tree: Tree) -> int:
    """How many there are, itself included."""
    number, level = 0, [tree]
    while level:
        number += len(level)
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
    return number


def _one(tree: Tree, each: Operation, number: int) -> Tree:
    what = f"operation {number} ({each.op} {each.path or 'of all'})"
    steps = _steps(each.path)
    match each.op:
        case "add":
            return _put(tree, steps, _given(each, what), what, insert=True)
        case "replace":
            _at(tree, steps, what)
            return _put(tree, steps, _given(each, what), what, insert=False)
        case "remove":
            return _without(tree, steps, what)
        case "test":
            if not _same(_at(tree, steps, what), _given(each, what)):
                raise Conflicting(f"{what}: there is another value: read the document again")
            return tree
        case "copy" | "move":
            if each.from_ is None:
                raise Unprocessable(f"{what}: from is missing: say where the value comes from")
            origin = _steps(each.from_)
            if each.op == "move" and len(steps) > len(origin) and steps[: len(origin)] == origin:
                raise Unprocessable(f"{what}: a value cannot be moved into itself")
            value = copy.deepcopy(_at(tree, origin, what))
            if each.op == "move":
                tree = _without(tree, origin, what)
            return _put(tree, steps, value, what, insert=True)


def _given(each: Operation, what: str) -> Tree:
    if "value" not in each.model_fields_set:
        raise Unprocessable(f"{what}: value is missing: give it, null if that is meant")
    return copy.deepcopy(each.value)


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _at(tree: Tree, steps: list[str], what: str) -> Tree:
    for step in steps:
        if isinstance(tree, dict) and step in tree:
            tree = tree[step]
        elif isinstance(tree, list) and _INDEX.fullmatch(step) and int(step) < len(tree):
            tree = tree[int(step)]
        else:
            raise Unprocessable(f"{what}: there is nothing at {step[:100]!r}: read the document again")
    return tree


def _put(tree: Tree, steps: list[str], value: Tree, what: str, *, insert: bool) -> Tree:
    if not steps:
        return value
    holder, last = _at(tree, steps[:-1], what), steps[-1]
    if isinstance(holder, dict):
        holder[last] = value
    elif isinstance(holder, list):
        place = len(holder) if last == "-" else _place(last, len(holder), what)
        if insert:
            holder.insert(place, value)
        else:
            holder[place] = value
    else:
        raise Unprocessable(f"{what}: what holds it is neither a mapping nor a list")
    return tree


def _without(tree: Tree, steps: list[str], what: str) -> Tree:
    if not steps:
        raise Unprocessable(f"{what}: a document cannot be removed by a patch: delete it")
    _at(tree, steps, what)
    holder = _at(tree, steps[:-1], what)
    if isinstance(holder, dict):
        del holder[steps[-1]]
    elif isinstance(holder, list):
        del holder[int(steps[-1])]
    return tree


def _place(step: str, length: int, what: str) -> int:
    if not _INDEX.fullmatch(step) or int(step) > length:
        raise Unprocessable(f"{what}: {step[:100]!r} is no place in a list of {length}")
    return int(step)


def _same(one: Tree, other: Tree) -> bool:
    """As JSON has it: true is not 1, and 1 is 1.0 (RFC 6902, 4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
