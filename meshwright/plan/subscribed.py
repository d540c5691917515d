"""Which of what differs a client is sent: what its streams subscribe to, or would because of what comes with it.

Envoy asks for the route configurations that its listeners and scopes name, and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
        if asked is not None and (not asked or any(each.wants(one.name) for each in asked)):
            return bool(asked)
        if asked is not None and old is not None:
            return False
        if one.type_url != ROUTE or member.proxyless:
            return True
        return any(
            one.name in each
            for each in (before.of(found.before[client]), after.of(found.after.get(client, ())))
        )

    return sent


class _Routes:
    """The names of route configurations that some scopes of a client name."""

    def __init__(self, scoped: frozenset[str], listeners: bytes) -> None:
        self._scoped, self._listeners = scoped, listeners

    def __contains__(self, name: object) -> bool:
        return name in self._scoped or (isinstance(name, str) and name.encode() in self._listeners)


class Named:
    """Which route configurations are named, by what clients have; each scope is looked at once."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_version: dict[str, str] = {}
        self._of: dict[tuple[Scope, ...], _Routes] = {}

    def of(self, scopes: tuple[Scope, ...]) -> _Routes:
        found = self._of.get(scopes)
        if found is None:
            held = [each for scope in scopes for each in self._contents(scope).values()]
            scoped = frozenset(self._leads_to(each) for each in held if each.type_url == SCOPED_ROUTE)
            listeners = b"\0".join(each.body for each in held if each.type_url == LISTENER)
            found = self._of[scopes] = _Routes(scoped, listeners)
        return found

    def _leads_to(self, scope: Resource) -> str:
        name = self._by_version.get(scope.version)
        if name is None:
            name = ScopedRouteConfiguration.FromString(scope.body).route_configuration_name
            self._by_version[scope.version] = name
        return name
