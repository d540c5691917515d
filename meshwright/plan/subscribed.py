"""Which of what differs a client is sent: what its streams subscribe to, or would because of what comes with it.

Envoy asks for the route configurations that its listeners and scopes name, and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from meshwright.plan.fleet import Fleet, Member
from meshwright.plan.held import Difference
from meshwright.plan.twin import Given, Wanted, id_of
from meshwright.scopes import Scope
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from xds.resource import Name, Resource
from xds.types import CLUSTER, LISTENER, ROUTE, SCOPED_ROUTE

Contents = Callable[[Scope], Mapping[Name, Resource]]


def wanted(fleet: Fleet, found: Given) -> Wanted:
    """Of a client that is not connected, everything counts but clusters that come on demand, and routes that nothing names."""
    members: Mapping[str, Member] = {id_of(each): each for each in fleet}
    before, after = Named(found.held.before), Named(found.held.now)

    def sent(client: str, difference: Difference) -> bool:
        old, new = difference
        one = new or old
        if one is None:
            return False
        member = members[client]
        asked = None if member.wants is None else member.wants.get(one.type_url, ())
        at_once = found.at_once.get(client)
        if at_once is not None and one.type_url == CLUSTER and one.on_request:
            named = asked is not None and any(one.name in each.names for each in asked)
            return named or one.name in at_once
        if asked is not None:
            if not asked or any(each.wants(one.name) for each in asked):
                return bool(asked)
            if old is not None:
                return False  # what is there and was not asked for is not asked for because it changes
        if one.type_url != ROUTE or member.proxyless:
            return True
        return one.name in after.of(found.after.get(client, ())) or one.name in before.of(
            found.before[client]
        )

    return sent


class Routes:
    """The names of the route configurations that some scoped routes and listeners name."""

    def __init__(self, scoped: frozenset[str], listeners: bytes) -> None:
        self._scoped, self._listeners = scoped, listeners

    def __contains__(self, name: object) -> bool:
        return name in self._scoped or (isinstance(name, str) and name.encode() in self._listeners)


def named_routes(held: Iterable[Resource], known: dict[str, str] | None = None) -> Routes:
    """Which of them `held` names. `known`: filled and used for the next, where scopes share resources."""
    told = known if known is not None else {}
    every = tuple(held)
    scoped = frozenset(_leads_to(each, told) for each in every if each.type_url == SCOPED_ROUTE)
    return Routes(scoped, b"\0".join(each.body for each in every if each.type_url == LISTENER))


def _leads_to(scope: Resource, known: dict[str, str]) -> str:
    name = known.get(scope.version)
    if name is None:
        name = ScopedRouteConfiguration.FromString(scope.body).route_configuration_name
        known[scope.version] = name
    return name


class Named:
    """Which route configurations are named, by what clients have; each tuple of scopes is looked at once."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._known: dict[str, str] = {}
        self._of: dict[tuple[Scope, ...], Routes] = {}

    def of(self, scopes: tuple[Scope, ...]) -> Routes:
        found = self._of.get(scopes)
        if found is None:
            held = (each for scope in scopes for each in self._contents(scope).values())
            found = self._of[scopes] = named_routes(held, self._known)
        return found
