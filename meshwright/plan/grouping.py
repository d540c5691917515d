"""The differences of many clients, put together: what is the same change of many resources, for many proxies, is said once. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from meshwright.plan.difference import FieldChange, between
from meshwright.plan.held import Difference
from xds.resource import Resource
from xds.types import ALL_TYPES, LISTENER

SETS = 10
"""Sets of proxies for which the same change of different resources is told apart."""
COMPARED = 1_000
"""Pairs of resources that are compared field by field; of further ones it is said that they change."""


class Sort(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """The same change of the resources `names`, of one type, for each of `proxies` (ids of clients). `fields` of those that change, and how
    many `more` there are; not `compared`: which fields is not known. `origin`: the documents that make it, or made it.
    In `fields` of several, NAME stands for the name of each. `scattered`: each of `proxies` has some of the resources, not all. `drains`: connections end, for a listener that changes as a whole, or goes.
    """

    type_url: str
    sort: Sort
    names: tuple[str, ...]
    proxies: tuple[str, ...]
    fields: tuple[FieldChange, ...] = ()
    more: int = 0
    compared: bool = True
    origin: tuple[str, ...] = ()
    drains: bool = False
    scattered: bool = False


Said = tuple[tuple[FieldChange, ...], int, bool]
NOTHING_SAID: Said = ((), 0, True)


def together(found: Iterable[tuple[tuple[str, ...], tuple[Difference, ...]]]) -> tuple[ResourceChange, ...]:
    """What `by_client` found, in the order in which Envoy is told of types, then by name."""
    said: dict[tuple[str, str, str, str], Said] = {}
    cells: dict[tuple[str, Sort, Said], dict[str, set[str]]] = {}
    origins: dict[tuple[str, str], set[str]] = {}
    for clients, differences in found:
        for old, new in differences:
            one = new or old
            if one is None:
                continue
            sort = Sort.ADDED if old is None else Sort.REMOVED if new is None else Sort.CHANGED
            what = _compare(old, new, said)
            cell = cells.setdefault((one.type_url, sort, what), {})
            cell.setdefault(one.name, set()).update(clients)
            origins.setdefault((one.type_url, one.name), set()).update(one.origin)
    made = []
    for (type_url, sort, (fields, more, compared)), names in cells.items():
        alike: dict[frozenset[str], list[str]] = {}
        for name, clients_of in names.items():
            alike.setdefault(frozenset(clients_of), []).append(name)
        # Many proxies of which each has its own few: one change of all of them.
        scattered = len(alike) > SETS
        if scattered:
            alike = {frozenset().union(*alike): sorted(names)}
        for proxies, of in alike.items():
            origin = {each for name in of for each in origins[type_url, name]}
            made.append(
                ResourceChange(
                    type_url,
                    sort,
                    tuple(sorted(of)),
                    tuple(sorted(proxies)),
                    fields if of[1:] else _of_one(fields, of[0]),
                    more,
                    compared,
                    tuple(sorted(origin)),
                    drains=type_url == LISTENER and _drains(sort, fields),
                    scattered=scattered,
                )
            )
    return tuple(sorted(made, key=_order))


def _compare(old: Resource | None, new: Resource | None, said: dict[tuple[str, str, str, str], Said]) -> Said:
    if old is None or new is None:
        return NOTHING_SAID
    pair = new.type_url, new.name, old.version, new.version
    if pair not in said:
        if len(said) >= COMPARED:
            return (), 0, False
        said[pair] = _alike((*between(new.type_url, old.body, new.body), True), new.name)
    return said[pair]


NAME = "{name}"
"""Stands for a resource's own name, in what is said of several."""


def _alike(said: Said, name: str) -> Said:
    """`said` in words that are the same for every resource that changes alike: much in a resource is called after it."""
    fields, more, compared = said
    if not name:
        return said
    whole = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    return _renamed(fields, lambda text: whole.sub(NAME, text)), more, compared


def _renamed(fields: Iterable[FieldChange], rename: Callable[[str], str]) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(
            rename(each.path),
            rename(each.before) if each.before is not None else None,
            rename(each.after) if each.after is not None else None,
        )
        for each in fields
    )


def _of_one(fields: Iterable[FieldChange], name: str) -> tuple[FieldChange, ...]:
    return _renamed(fields, lambda text: text.replace(NAME, name))


IN_PLACE = ("filter_chains", "default_filter_chain", "filter_chain_matcher")
"""Fields of a listener that Envoy changes in place: connections of other filter chains go on.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/lds#config-listeners-lds
"""


def _drains(sort: Sort, fields: Iterable[FieldChange]) -> bool:
    if sort is not Sort.CHANGED:
        return sort is Sort.REMOVED
    return any(not each.path.startswith(IN_PLACE) for each in fields)


def _order(change: ResourceChange) -> tuple[int, str, str, tuple[str, ...]]:
    known = change.type_url in ALL_TYPES
    return (
        ALL_TYPES.index(change.type_url) if known else len(ALL_TYPES),
        change.names[0],
        change.sort,
        change.proxies,
    )
