"""Gateways as the state of the mesh finds them: which routes and sets of listeners are attached to each, and which workloads play it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from immutables import Map

from mesh.gateways import Gateway, ListenerSet, ReferenceGrant
from mesh.names import Key
from mesh.namespaces import Namespace
from mesh.routes import ParentKind, Route, Subset
from mesh.secrets import SecretFiles
from mesh.workload import Workload

Parent = tuple[ParentKind, Key]
"""A gateway, or a set of listeners."""

PARENTS = frozenset({ParentKind.GATEWAY, ParentKind.LISTENER_SET})


@dataclass(frozen=True, slots=True)
class Edges:
    """Persistent: a change of one route, set or workload costs what that one has.

    `attached`: the routes that name a gateway or a set, whether or not it takes them, by kind and key. `sets`: those that name a gateway,
    whether or not it takes them, by key; `gateway_of`: which one each of them names. `players`: the workloads that play a gateway, sorted.
    None depends on whether there is a document for what is named.
    """

    attached: Map[Parent, tuple[Route, ...]] = Map()
    sets: Map[Key, tuple[ListenerSet, ...]] = Map()
    gateway_of: Map[Key, Key] = Map()
    players: Map[Key, tuple[Key, ...]] = Map()

    def put(self, value: object) -> Edges:
        """With a route or a set; any other value changes nothing here."""
        match value:
            case Route():
                attached = self.attached
                for parent in parents(value):
                    attached = attached.set(
                        parent, tuple(sorted((*attached.get(parent, ()), value), key=_name))
                    )
                return replace(self, attached=attached)
            case ListenerSet():
                sets = tuple(sorted((*self.sets.get(value.parent, ()), value), key=lambda each: each.key))
                return replace(
                    self,
                    sets=self.sets.set(value.parent, sets),
                    gateway_of=self.gateway_of.set(value.key, value.parent),
                )
            case _:
                return self

    def without(self, value: object) -> Edges:
        match value:
            case Route():
                attached = self.attached
                for parent in parents(value):
                    left = tuple(each for each in attached[parent] if _name(each) != _name(value))
                    attached = attached.set(parent, left) if left else attached.delete(parent)
                return replace(self, attached=attached)
            case ListenerSet():
                others = tuple(each for each in self.sets[value.parent] if each.key != value.key)
                sets = self.sets.set(value.parent, others) if others else self.sets.delete(value.parent)
                return replace(self, sets=sets, gateway_of=self.gateway_of.delete(value.key))
            case _:
                return self

    def played(self, key: Key, was: Workload | None, now: Workload | None) -> Edges:
        """After the workload `key`, which was `was`, has become `now`."""
        before = None if was is None else was.gateway
        after = None if now is None else now.gateway
        if before == after:
            return self
        players = self.players
        if before is not None:
            left = tuple(each for each in players.get(before, ()) if each != key)
            players = players.set(before, left) if left else players.delete(before)
        if after is not None:
            players = players.set(after, tuple(sorted({*players.get(after, ()), key})))
        return replace(self, players=players)

    def everyone(self) -> frozenset[Key]:
        """All workloads that play a gateway: those that a change may concern that says nothing of gateways."""
        return frozenset(each for group in self.players.values() for each in group)

    def routes(self, gateway: Key) -> Iterator[Route]:
        """Those that name `gateway` or one of the sets that do, each once."""
        found: dict[tuple[str, Key], Route] = {}
        for each in (
            (ParentKind.GATEWAY, gateway),
            *((ParentKind.LISTENER_SET, one.key) for one in self.sets.get(gateway, ())),
        ):
            for route in self.attached.get(each, ()):
                found[_name(route)] = route
        yield from found.values()

    def concerned(self, value: object) -> frozenset[Key]:
        """The workloads whose gateway `value` takes part in.

        For a subset, a grant, a secret or a namespace these are all: it may resolve, or unresolve, a reference of any route or listener.
        """
        match value:
            case Route():
                named = parents(value)
                found = (
                    *(key for kind, key in named if kind is ParentKind.GATEWAY),
                    *(
                        self.gateway_of[key]
                        for kind, key in named
                        if kind is ParentKind.LISTENER_SET and key in self.gateway_of
                    ),
                )
            case Gateway():
                found = (value.key,)
            case ListenerSet():
                found = (value.parent,)
            case Subset() | ReferenceGrant() | SecretFiles() | Namespace():
                return self.everyone()
            case _:
                return frozenset()
        return frozenset(each for gateway in found for each in self.players.get(gateway, ()))


def parents(route: Route) -> tuple[Parent, ...]:
    """The gateways and sets of listeners that a route names as parents, each once."""
    return tuple(dict.fromkeys((each.kind, each.key) for each in route.parents if each.kind in PARENTS))


def _name(route: Route) -> tuple[str, Key]:
    return route.kind.value, route.key
