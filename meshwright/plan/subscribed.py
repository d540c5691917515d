"""Which of what differs a client is sent: what its streams subscribe to, or would because of what comes with it.

Envoy asks for the route configurations that its listeners and scopes name, and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from meshwright.plan.fleet import Fleet, Member
from meshwright.plan.held import Difference
from meshwright.plan.twin import Given, Wanted, id_of
from meshwright.scopes import Scope
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
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


Known = dict[tuple[str, str], frozenset[str]]
"""By type and version, which route configurations a resource names."""


def named_routes(held: Iterable[Resource], known: Known | None = None) -> frozenset[str]:
    """The route configurations that `held` name. `known`: filled and used for the next, where scopes share resources."""
    told = known if known is not None else {}
    found: set[str] = set()
    for each in held:
        if each.type_url in NAMING:
            of = told.get((each.type_url, each.version))
            if of is None:
                of = told[each.type_url, each.version] = frozenset(NAMING[each.type_url](each.body))
            found |= of
    return frozenset(found)


def _of_scope(body: bytes) -> Iterator[str]:
    yield ScopedRouteConfiguration.FromString(body).route_configuration_name


def _of_listener(body: bytes) -> Iterator[str]:
    listener = Listener.FromString(body)
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for each in chain.filters:
            if each.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                yield HttpConnectionManager.FromString(each.typed_config.value).rds.route_config_name
    if listener.HasField("api_listener"):
        manager = listener.api_listener.api_listener
        yield HttpConnectionManager.FromString(manager.value).rds.route_config_name


NAMING: Mapping[str, Callable[[bytes], Iterator[str]]] = {SCOPED_ROUTE: _of_scope, LISTENER: _of_listener}


class Named:
    """Which route configurations are named, by what clients have; each tuple of scopes is looked at once."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._known: Known = {}
        self._of: dict[tuple[Scope, ...], frozenset[str]] = {}

    def of(self, scopes: tuple[Scope, ...]) -> frozenset[str]:
        found = self._of.get(scopes)
        if found is None:
            held = (each for scope in scopes for each in self._contents(scope).values())
            found = self._of[scopes] = named_routes(held, self._known)
        return found
