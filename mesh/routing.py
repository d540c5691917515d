"""Which rules the callers of a service follow: routes attached to it, ordered, their references resolved.

Routes of the service's own namespace hold for every caller (producer routes), those of another namespace for callers of that
namespace alone (consumer routes), where they take the place of the producer's
(https://gateway-api.sigs.k8s.io/mesh/#types-of-routes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from immutables import Map

from mesh.attachment import SPOKEN
from mesh.gateways import ReferenceGrant
from mesh.names import Key
from mesh.precedence import in_order, prevailing
from mesh.references import Unresolved, lookup, resolve
from mesh.routes import (
    Backend,
    BackendKind,
    ExternalAuth,
    Filter,
    ParentKind,
    RequestMirror,
    RequestRedirect,
    Route,
    Rule,
    Subset,
)
from mesh.rules import Authorizer, BackendView, Mirror, RuleView
from mesh.service import ServicePort
from mesh.targeting import RouteName

if TYPE_CHECKING:
    from mesh.state import MeshState

K = TypeVar("K", Key, str)
V = TypeVar("V", bound=Route | Subset | ReferenceGrant)


@dataclass(frozen=True, slots=True)
class Routing:
    """Routes and what they refer to, found by what they concern. Persistent: a change of one costs what that one has.

    `attached`: the routes of each service. `referring`: the services whose routes send to a service. `subsets`: of each service.
    """

    attached: Map[Key, tuple[Route, ...]] = Map()
    referring: Map[Key, tuple[Key, ...]] = Map()
    subsets: Map[Key, tuple[Subset, ...]] = Map()
    grants: Map[str, tuple[ReferenceGrant, ...]] = Map()

    def put(self, value: object) -> Routing:
        """With a route, a subset or a grant; any other value changes nothing here."""
        match value:
            case Route():
                attached = self.attached
                for parent in parents(value):
                    attached = attached.set(parent, _with(attached.get(parent, ()), value))
                referring = self.referring
                for service in self._referred(value):
                    referring = referring.set(
                        service, tuple(sorted((*referring.get(service, ()), *parents(value))))
                    )
                return Routing(attached, referring, self.subsets, self.grants)
            case Subset():
                have = self.subsets.get(value.service, ())
                return Routing(
                    self.attached,
                    self.referring,
                    self.subsets.set(value.service, _with(have, value)),
                    self.grants,
                )
            case ReferenceGrant():
                space = value.key.namespace
                granted = self.grants.set(space, _with(self.grants.get(space, ()), value))
                return Routing(self.attached, self.referring, self.subsets, granted)
            case _:
                return self

    def without(self, value: object) -> Routing:
        match value:
            case Route():
                attached = self.attached
                for parent in parents(value):
                    attached = _less(attached, parent, value)
                referring = self.referring
                for service in self._referred(value):
                    left = list(referring.get(service, ()))
                    for parent in parents(value):
                        left.remove(parent)
                    referring = referring.set(service, tuple(left)) if left else referring.delete(service)
                return Routing(attached, referring, self.subsets, self.grants)
            case Subset():
                return Routing(
                    self.attached, self.referring, _less(self.subsets, value.service, value), self.grants
                )
            case ReferenceGrant():
                granted = _less(self.grants, value.key.namespace, value)
                return Routing(self.attached, self.referring, self.subsets, granted)
            case _:
                return self

    @staticmethod
    def _referred(route: Route) -> Iterator[Key]:
        """The services, or subsets by their own name, that a route of the mesh names; none of a route that no service is parent of."""
        if parents(route):
            yield from dict.fromkeys(each.key for each in route.backends())


def parents(route: Route) -> tuple[Key, ...]:
    """The services that a route is attached to, each once."""
    return tuple(dict.fromkeys(each.key for each in route.parents if each.kind is ParentKind.SERVICE))


def concerned(routing: Routing, value: object) -> Iterable[Key]:
    """The services whose rendering `value` takes part in."""
    match value:
        case Route():
            return parents(value)
        case Subset():
            return (value.service, *routing.referring.get(value.key, ()))
        case ReferenceGrant():
            return routing.attached.keys()
        case _:
            return ()


def port_rules(
    state: MeshState, service: Key, caller_namespace: str
) -> tuple[tuple[int, tuple[RuleView, ...]], ...]:
    """For each HTTP port with routes, its rules as callers of the namespace follow them, by precedence."""
    if service not in state.routing.attached:
        return ()
    found = []
    for port in state.services[service].ports:
        if port.protocol.is_http:
            routes = attached(state, service, port, caller_namespace)
            if routes:
                found.append((port.port, tuple(rule_views(state, routes, service, port))))
    return tuple(found)


def tcp_backends(
    state: MeshState, service: Key, port: ServicePort, caller_namespace: str
) -> tuple[BackendView, ...]:
    """Where connections to a TCP port go, if a route says so: the first rule of the oldest one, for there is nothing to match."""
    if service not in state.routing.attached:
        return ()
    for route in attached(state, service, port, caller_namespace):
        for rule in route.rules:
            return tuple(backend_view(state, route, each, service) for each in rule.backends)
    return ()


def attached(state: MeshState, service: Key, port: ServicePort, caller_namespace: str) -> tuple[Route, ...]:
    """The routes that callers of a namespace follow on one port: of what it speaks, and of one kind."""
    here = [
        route
        for route in state.routing.attached.get(service, ())
        if port.protocol in SPOKEN[route.kind]
        and any(
            each.kind is ParentKind.SERVICE
            and each.key == service
            and each.port in {None, port.port}
            and each.section in {None, port.name}
            for each in route.parents
        )
    ]
    own = [each for each in here if each.key.namespace == caller_namespace != service.namespace]
    return prevailing(own or (each for each in here if each.key.namespace == service.namespace))


def rule_views(
    state: MeshState, routes: Iterable[Route], service: Key | None = None, port: ServicePort | None = None
) -> Iterator[RuleView]:
    """One for each match of each rule, by precedence, of routes attached to a port of `service`; without one, to a gateway."""
    for route, place, index in in_order(tuple(routes)):
        rule = route.rules[place]
        yield RuleView(
            route=RouteName(route.kind.value, route.key),
            place=place,
            match=rule.matches[index],
            backends=tuple(
                backend_view(state, route, each, service) for each in _backends(rule, service, port)
            ),
            filters=_staying(rule.filters),
            mirrors=_mirrors(state, route, rule.filters, service),
            timeouts=rule.timeouts,
            retry=rule.retry,
            persistence=rule.persistence,
            hostnames=route.hostnames,
            authorizer=_authorizer(state, route, rule.filters, service),
            origin=route.origin,
        )


def _backends(rule: Rule, service: Key | None, port: ServicePort | None) -> tuple[Backend, ...]:
    """Those of the rule. One of the mesh without any changes or limits what would happen without it: requests go to the parent
    itself. A gateway leads nowhere by itself.
    """
    redirects = any(isinstance(each, RequestRedirect) for each in rule.filters)
    if rule.backends or redirects or service is None or port is None:
        return rule.backends
    return (Backend(BackendKind.SERVICE, service, port.port),)


def _staying(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """Those that send nothing elsewhere."""
    return tuple(each for each in filters if not isinstance(each, RequestMirror | ExternalAuth))


def _authorizer(
    state: MeshState, route: Route, filters: tuple[Filter, ...], parent: Key | None
) -> Authorizer | None:
    asked = next((each for each in filters if isinstance(each, ExternalAuth)), None)
    return None if asked is None else Authorizer(backend_view(state, route, asked.backend, parent), asked)


def _mirrors(
    state: MeshState, route: Route, filters: tuple[Filter, ...], parent: Key | None
) -> tuple[Mirror, ...]:
    return tuple(
        Mirror(
            backend_view(state, route, each.backend, parent),
            (each.share.numerator, each.share.denominator) if each.share else (100, 100),
        )
        for each in filters
        if isinstance(each, RequestMirror)
    )


def backend_view(state: MeshState, route: Route, backend: Backend, parent: Key | None = None) -> BackendView:
    """Where `backend` of `route` is, or why it is nowhere. `parent`: the service whose callers follow the route; none for a gateway."""
    found = resolve(route, parent, backend, lookup(state))
    if isinstance(found, Unresolved):
        # Of a subset the service is named, if it is known: who waits for that may be told of it when it comes.
        problem = f"{found.reason}: {found.message}"
        return BackendView(found.service, backend.port or 0, "", backend.weight, problem=problem)
    return BackendView(
        found.service,
        found.port,
        found.subset,
        backend.weight,
        _staying(backend.filters),
        _mirrors(state, route, backend.filters, parent),
        host=found.host,
    )


def reachable(state: MeshState, services: Iterable[Key], caller_namespace: str) -> frozenset[Key]:
    """`services`, and those that their routes send requests to: whoever may call one needs the clusters of the others.

    What a route sends to a service goes to its endpoints and follows no further route. And of a service that is not there nobody
    is told what its routes say: only those of services that are count.
    """
    named = frozenset(services)
    found = set(named)
    for service in named.intersection(state.services):
        for route in state.routing.attached.get(service, ()):
            if route.key.namespace in {service.namespace, caller_namespace}:
                views = (backend_view(state, route, each, service) for each in route.backends())
                found.update(view.service for view in views if not view.problem)
    return frozenset(found)


def _with(have: tuple[V, ...], value: V) -> tuple[V, ...]:
    return tuple(sorted((*have, value), key=_key))


def _less(of: Map[K, tuple[V, ...]], key: K, value: V) -> Map[K, tuple[V, ...]]:
    left = tuple(each for each in of[key] if _key(each) != _key(value))
    return of.set(key, left) if left else of.delete(key)


def _key(value: Route | Subset | ReferenceGrant) -> tuple[str, Key]:
    return (value.kind.value if isinstance(value, Route) else type(value).__name__), value.key
