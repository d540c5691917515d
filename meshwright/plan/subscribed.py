"""Which of what differs a client is sent: what its streams subscribe to, or would because of what comes with it.

Envoy asks for the route configurations that its listeners and scopes name, and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from meshwright.plan.fleet import Fleet, Member
from meshwright.plan.held import Difference
from meshwright.plan.twin import Given, id_of
from meshwright.scopes import Scope
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds.cache import Subscription
from xds.resource import Name, Resource
from xds.types import CLUSTER, LISTENER, ROUTE, SCOPED_ROUTE

Contents = Callable[[Scope], Mapping[Name, Resource]]


class Subscribed:
    """Of clients of which nothing is known, everything counts but clusters that come on demand, and routes that nothing names."""

    def __init__(self, fleet: Fleet, found: Given) -> None:
        self._members: Mapping[str, Member] = {id_of(each): each for each in fleet}
        self._found = found
        self._before, self._after = Named(found.held.before), Named(found.held.now)

    def sent(self, client: str, difference: Difference) -> bool:
        """Whether `client` is sent that something differs."""
        old, new = difference
        one = new or old
        if one is None:
            return False
        member = self._members[client]
        asked = self._asked(member, one.type_url)
        at_once = self._found.at_once.get(client)
        if at_once is not None and one.type_url == CLUSTER and one.on_request:
            named = asked is not None and any(one.name in each.names for each in asked)
            return named or one.name in at_once
        if asked is not None and (not asked or any(each.wants(one.name) for each in asked)):
            return bool(asked)
        if one.type_url == ROUTE and not member.proxyless:
            before, after = self._named(client)
            return one.name in after or (asked is None and one.name in before)
        # What is there and was not asked for is not asked for because it changes.
        return asked is None or old is None

    def besides(self, client: str) -> tuple[Difference, ...]:
        """Routes that do not differ, and are sent all the same: a listener or a scope names them, and none did before."""
        member = self._members[client]
        asked = self._asked(member, ROUTE)
        before, after = self._named(client)
        scopes = self._found.after.get(client, ())
        found: list[Difference] = []
        for name in sorted(after - before):
            if asked is None or not any(each.wants(name) for each in asked):
                was, now = (self._look(contents, of, name) for contents, of in self._contents(client, scopes))
                if was is not None and now is not None and was.version == now.version:
                    found.append((None, now))
        return tuple(found)

    def _contents(
        self, client: str, scopes: tuple[Scope, ...]
    ) -> tuple[tuple[Contents, tuple[Scope, ...]], tuple[Contents, tuple[Scope, ...]]]:
        held = self._found.held
        return (held.before, self._found.before[client]), (held.now, scopes)

    @staticmethod
    def _look(contents: Contents, scopes: tuple[Scope, ...], name: str) -> Resource | None:
        held = (contents(scope).get((ROUTE, name)) for scope in scopes)
        return next((each for each in held if each is not None), None)

    @staticmethod
    def _asked(member: Member, type_url: str) -> tuple[Subscription, ...] | None:
        return None if member.wants is None else member.wants.get(type_url, ())

    def _named(self, client: str) -> tuple[frozenset[str], frozenset[str]]:
        return self._before.of(self._found.before[client]), self._after.of(self._found.after.get(client, ()))


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
