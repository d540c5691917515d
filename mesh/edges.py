"""Gateways as the state of the mesh finds them: which routes are attached to each, and which workloads play it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from immutables import Map

from mesh.gateways import Gateway, ReferenceGrant
from mesh.names import Key
from mesh.routes import ParentKind, Route, Subset
from mesh.secrets import SecretFiles
from mesh.workload import Workload


@dataclass(frozen=True, slots=True)
class Edges:
    """Persistent: a change of one route or workload costs what that one has.

    `attached`: the routes that name a gateway, whether or not it takes them, by kind and key. `players`: the workloads
    that play a gateway, sorted. Neither depends on whether there is a document for the gateway.
    """

    attached: Map[Key, tuple[Route, ...]] = Map()
    players: Map[Key, tuple[Key, ...]] = Map()

    def put(self, value: object) -> Edges:
        """With a route; any other value changes nothing here."""
        if not isinstance(value, Route):
            return self
        attached = self.attached
        for gateway in gateways(value):
            attached = attached.set(gateway, tuple(sorted((*attached.get(gateway, ()), value), key=_name)))
        return replace(self, attached=attached)

    def without(self, value: object) -> Edges:
        if not isinstance(value, Route):
            return self
        attached = self.attached
        for gateway in gateways(value):
            left = tuple(each for each in attached[gateway] if _name(each) != _name(value))
            attached = attached.set(gateway, left) if left else attached.delete(gateway)
        return replace(self, attached=attached)

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

    def concerned(self, value: object) -> frozenset[Key]:
        """The workloads whose gateway `value` takes part in.

        For a subset, a grant or a secret these are all: it may resolve, or unresolve, a reference of any route or listener.
        """
        match value:
            case Route():
                found = gateways(value)
            case Gateway():
                found = (value.key,)
            case Subset() | ReferenceGrant() | SecretFiles():
                return self.everyone()
            case _:
                return frozenset()
        return frozenset(each for gateway in found for each in self.players.get(gateway, ()))


def gateways(route: Route) -> tuple[Key, ...]:
    """The gateways that a route names as parents, each once."""
    return tuple(dict.fromkeys(each.key for each in route.parents if each.kind is ParentKind.GATEWAY))


def _name(route: Route) -> tuple[str, Key]:
    return route.kind.value, route.key
