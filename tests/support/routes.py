"""Routes and gateways as values, with terse defaults: a test says only what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mesh.gateways import (
    AllowedRoutes,
    FromNamespaces,
    Gateway,
    GatewayListener,
    GrantFrom,
    GrantTo,
    ListenerProtocol,
    ReferenceGrant,
    Selector,
)
from mesh.names import Key
from mesh.routes import (
    Backend,
    BackendKind,
    Match,
    ParentKind,
    ParentRef,
    PathKind,
    PathMatch,
    Route,
    RouteKind,
    Rule,
)
from tests.support.builders import a_key

ANY = Match(PathMatch(PathKind.PREFIX, "/"))


def at_service(name: str = "api", port: int | None = None, section: str | None = None) -> ParentRef:
    return ParentRef(ParentKind.SERVICE, a_key(name), port, section)


def at_gateway(name: str = "gw", port: int | None = None, section: str | None = None) -> ParentRef:
    return ParentRef(ParentKind.GATEWAY, a_key(name), port, section)


def to(
    name: str = "api", port: int | None = 80, weight: int = 1, kind: BackendKind = BackendKind.SERVICE
) -> Backend:
    return Backend(kind, a_key(name), port, weight)


def a_rule(*matches: Match, backends: Iterable[Backend] = (to(),)) -> Rule:
    return Rule(matches=matches or (ANY,), backends=tuple(backends))


def a_route(
    name: str = "api",
    *rules: Rule,
    kind: RouteKind = RouteKind.HTTP,
    parents: Iterable[ParentRef] = (at_service(),),
    hostnames: Iterable[str] = (),
    created: datetime | None = None,
) -> Route:
    """Sends everything to port 80 of the service api, unless rules are given."""
    return Route(kind, a_key(name), tuple(parents), tuple(hostnames), rules or (a_rule(),), created)


def a_listener(
    name: str = "http",
    port: int = 80,
    protocol: ListenerProtocol = ListenerProtocol.HTTP,
    *,
    hostname: str | None = None,
    kinds: Iterable[RouteKind] = (RouteKind.HTTP, RouteKind.GRPC),
    namespaces: FromNamespaces = FromNamespaces.SAME,
    selector: Selector | None = None,
) -> GatewayListener:
    allowed = AllowedRoutes(tuple(kinds), namespaces, selector)
    return GatewayListener(name, port, protocol, allowed, hostname)


def a_gateway(name: str = "gw", *listeners: GatewayListener) -> Gateway:
    return Gateway(a_key(name), "meshwright", listeners or (a_listener(),))


def a_grant(
    namespace: str,
    *,
    kind: str = "HTTPRoute",
    of: str = "default",
    to_kind: str = "Service",
    name: str | None = None,
) -> ReferenceGrant:
    """Lets `kind` of namespace `of` refer to `to_kind` in `namespace`."""
    return ReferenceGrant(Key(namespace, "grant"), (GrantFrom(kind, of),), (GrantTo(to_kind, name),))
