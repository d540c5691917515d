"""Who owns which fields of a document: server-side apply, as Kubernetes has it. Pure.

Who applies says the whole of what they want, and owns the fields that they say. A field that they said before and say no more is removed, unless somebody
else owns it too. A field that another owns with another value is a conflict: nothing is done, or with `force` it changes its owner. To say the
same value as another is no conflict: then both own it. Whoever writes in any other way takes the fields that they change.
https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from api.fields import Element, FieldPath, Fields, Step, by_key, fields_of, overlapping, read, shown, written
from documents.reading import Tree

APPLY, UPDATE = "apply", "update"
OPERATIONS: Final = (APPLY, UPDATE)

Body = Mapping[str, Tree]
Managed = Mapping[str, Tree]
"""As the store keeps it: field manager → operation → fields (FieldsV1)."""
Owner = tuple[str, str]
"""A field manager and an operation: what somebody applied and what they wrote otherwise are two."""


@dataclass(frozen=True, slots=True)
class Clash:
    """A field that is owned by `manager`, and would get another value."""

    path: str
    manager: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying makes of a document. With `clashes`, nothing is to be done."""

    body: dict[str, Tree]
    managed: dict[str, Tree]
    clashes: tuple[Clash, ...] = ()


def applied(
    kind: str, live: Body | None, managed: Managed, wish: Body, manager: str, *, force: bool = False
) -> Applied:
    """`live` (None: there is none yet) after `manager` has applied `wish`."""
    wanted = fields_of(kind, wish)
    owners = owners_of(managed)
    is_now = fields_of(kind, live or {})
    taken: dict[Owner, set[FieldPath]] = {}
    for owner, fields in owners.items():
        if owner == (manager, APPLY):
            continue
        theirs = {
            path for path in fields for mine, value in wanted.items() if _differs(mine, value, path, is_now)
        }
        if theirs:
            taken[owner] = theirs
    # What they wrote themselves in another way is theirs to change.
    clashes = tuple(
        Clash(shown(path), owner[0])
        for owner, paths in sorted(taken.items())
        if owner[0] != manager
        for path in sorted(paths, key=shown)
    )
    if clashes and not force:
        return Applied(dict(live or {}), dict(managed), clashes)
    before = owners.pop((manager, APPLY), frozenset())
    for owner, paths in taken.items():
        owners[owner] -= paths
    body = _laid(kind, dict(live or {}), dict(wish), ())
    others = frozenset[FieldPath]().union(*owners.values())
    for path in sorted(before - wanted.keys(), key=_keys_last):
        if not any(overlapping(path, each) for each in (*others, *wanted)):
            body = _without(kind, body, path)
    owners[manager, APPLY] = frozenset(wanted)
    return Applied(body, kept(owners))


def updated(kind: str, live: Body | None, managed: Managed, new: Body, manager: str) -> dict[str, Tree]:
    """The owners after `manager` has made `new` of `live` in any other way than by applying."""
    was, now = fields_of(kind, live or {}), fields_of(kind, new)
    changed = {path for path, value in now.items() if path not in was or was[path] != value}
    owners = {
        owner: frozenset(path for path in fields if path in now and path not in changed)
        for owner, fields in owners_of(managed).items()
    }
    owners[manager, UPDATE] = owners.get((manager, UPDATE), frozenset()) | changed
    return kept(owners)


def owners_of(managed: Managed) -> dict[Owner, Fields]:
    return {
        (manager, operation): read(operations[operation])
        for manager, operations in managed.items()
        if isinstance(operations, dict)
        for operation in OPERATIONS
        if operation in operations
    }


def kept(owners: Mapping[Owner, Iterable[FieldPath]]) -> dict[str, Tree]:
    """As the store keeps it; who owns nothing is not in it."""
    result: dict[str, Tree] = {}
    for (manager, operation), fields in sorted(owners.items()):
        if fields := frozenset(fields):
            operations = result.setdefault(manager, {})
            assert isinstance(operations, dict)  # noqa: S101 (made here)
            operations[operation] = written(fields)
    return result


def shown_as_managed_fields(managed: Managed, api_version: str) -> list[Tree]:
    """As `metadata.managedFields`."""
    return [
        {
            "manager": manager,
            "operation": operation.capitalize(),
            "apiVersion": api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": written(fields),
        }
        for (manager, operation), fields in sorted(owners_of(managed).items())
    ]


def _keys_last(path: FieldPath) -> tuple[bool, str]:
    """An element goes with its name, after all else that it holds."""
    held = path[-2] if len(path) > 1 else None
    return isinstance(held, Element) and held.key == path[-1], shown(path)


def _differs(mine: FieldPath, value: Tree, theirs: FieldPath, is_now: Mapping[FieldPath, Tree]) -> bool:
    """Whether giving `mine` its value changes what is owned at `theirs`."""
    if mine == theirs:
        return mine not in is_now or is_now[mine] != value
    return overlapping(mine, theirs) and (mine not in is_now or is_now[mine] != value)


def _laid(kind: str, under: Tree, over: Tree, names: tuple[str, ...]) -> dict[str, Tree]:
    """`over` laid on the mapping `under`."""
    result = dict(under) if isinstance(under, dict) else {}
    for name, value in (over if isinstance(over, dict) else {}).items():
        path = (*names, name)
        below = result.get(name)
        elements = by_key(kind, path, value)
        present = by_key(kind, path, below)
        if elements is not None and present is not None:
            laid = {each: _laid(kind, present.get(each), over_it, path) for each, over_it in elements.items()}
            result[name] = [*({**present, **laid}.values())]
        elif isinstance(value, dict) and value and isinstance(below, dict):
            result[name] = _laid(kind, below, value, path)
        else:
            result[name] = copy.deepcopy(value)
    return result


def _without(kind: str, body: dict[str, Tree], path: FieldPath) -> dict[str, Tree]:
    """`body` without the field at `path`, and without what holds nothing else."""
    result = _dropped(kind, body, path, ())
    return result if isinstance(result, dict) else {}


def _dropped(kind: str, tree: Tree, path: FieldPath, names: tuple[str, ...]) -> Tree:
    """None for what is empty now."""
    step, rest = path[0], path[1:]
    if isinstance(step, Element):
        elements = by_key(kind, names, tree)
        if elements is None or step not in elements:
            return tree
        element = elements[step]
        below: Tree
        if rest == (step.key,):  # An element lives, and has its name, as long as anything else is said of it.
            below = None if element.keys() <= {step.key} else element
        else:
            below = _dropped(kind, element, rest, names) if rest else None
        left = [below if each == step else value for each, value in elements.items()]
        return [value for value in left if value is not None] or None
    return _dropped_of_mapping(kind, tree, step, rest, names)


def _dropped_of_mapping(kind: str, tree: Tree, step: Step, rest: FieldPath, names: tuple[str, ...]) -> Tree:
    if not isinstance(tree, dict) or not isinstance(step, str) or step not in tree:
        return tree
    result = dict(tree)
    below = _dropped(kind, tree[step], rest, (*names, step)) if rest else None
    if below is None:
        del result[step]
    else:
        result[step] = below
    return result or None
