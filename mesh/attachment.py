"""Where a route lands: which listeners of a gateway, and which ports of a service, take it.

Rules: ParentReference, Listener and Hostname of https://gateway-api.sigs.k8s.io/reference/spec/, and GEP-1294 for
services.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.gateways import (
    AllowedListeners,
    AllowedRoutes,
    FromNamespaces,
    Gateway,
    GatewayListener,
    ListenerSet,
)
from mesh.names import Key
from mesh.routes import ParentRef, Route, RouteKind
from mesh.service import Labels, Protocol, Service, ServicePort

NamespaceLabels = Callable[[str], Labels]
"""The labels of a namespace, besides that of its own name."""

SPOKEN: dict[RouteKind, frozenset[Protocol]] = {
    RouteKind.HTTP: frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC}),
    RouteKind.GRPC: frozenset({Protocol.HTTP2, Protocol.GRPC}),  # gRPC needs HTTP/2 end to end.
    RouteKind.TLS: frozenset({Protocol.TLS}),
    RouteKind.TCP: frozenset({Protocol.TCP, Protocol.TLS}),
    RouteKind.UDP: frozenset({Protocol.UDP}),
}
"""What a port must speak for a kind of route to be applied to it."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A listener that takes a route. `hostnames` are those of both; empty for every name, as of TCP and UDP."""

    listener: GatewayListener
    hostnames: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotAttached:
    """Why no listener takes a route: a reason of the Gateway API's, and a message."""

    reason: str
    message: str


def no_labels(_namespace: str) -> Labels:
    """Off Kubernetes a namespace has no labels but its name."""
    return ()


def ports(route: Route, parent: ParentRef, service: Service) -> tuple[ServicePort, ...]:
    """The ports of `service` that `route` applies to by `parent`, a reference to it."""
    return tuple(port for port in selected(parent, service) if port.protocol in SPOKEN[route.kind])


def selected(parent: ParentRef, service: Service) -> tuple[ServicePort, ...]:
    """The ports of `service` that `parent` names, whatever they speak."""
    return tuple(
        port
        for port in service.ports
        if parent.port in {None, port.port} and parent.section in {None, port.name}
    )


def listeners(
    route: Route,
    parent: ParentRef,
    gateway: Gateway | ListenerSet,
    namespace_labels: NamespaceLabels = no_labels,
) -> tuple[Attached, ...] | NotAttached:
    """The listeners that `gateway` itself declares which take `route` by `parent`, a reference to it; if there are none, why."""
    named = [
        listener
        for listener in gateway.listeners
        if parent.port in {None, listener.port} and parent.section in {None, listener.name}
    ]
    if not named:
        return NotAttached("NoMatchingParent", f"no listener of {parent}: it has {_told(gateway)}")
    allowing = [listener for listener in named if allows(listener, gateway.key, route, namespace_labels)]
    if not allowing:
        return NotAttached(
            "NotAllowedByListeners",
            f"{parent} takes no {route.kind} of namespace {route.key.namespace}: see allowedRoutes of its listeners",
        )
    found = [
        Attached(listener, common)
        for listener in allowing
        if (common := _common(listener, route)) is not None
    ]
    if not found:
        return NotAttached(
            "NoMatchingListenerHostname",
            f"no hostname of the route is one of {parent}, which has "
            + ", ".join(listener.hostname or "*" for listener in allowing),
        )
    return tuple(found)


def allows(listener: GatewayListener, gateway: Key, route: Route, namespace_labels: NamespaceLabels) -> bool:
    """Whether `listener` of `gateway`, or of a set, takes routes of the kind and the namespace of `route`."""
    return route.kind in listener.allowed.kinds and admits(
        listener.allowed, gateway.namespace, route.key.namespace, namespace_labels
    )


def admits(
    allowed: AllowedRoutes | AllowedListeners, own: str, namespace: str, namespace_labels: NamespaceLabels
) -> bool:
    """Whether what is in namespace `own` takes what is in `namespace`."""
    match allowed.namespaces:
        case FromNamespaces.ALL:
            return True
        case FromNamespaces.SAME:
            return namespace == own
        case FromNamespaces.SELECTOR:
            return allowed.selector is not None and allowed.selector.covers(
                namespace, namespace_labels(namespace)
            )


def intersection(one: str, other: str) -> str | None:
    """The host name or wildcard that both `one` and `other` mean, if any: the narrower of the two.

    `*.example.com` means every name below `example.com`, however deep, but not itself.
    """
    if one == other or _means(other, one):
        return one
    return other if _means(one, other) else None


def _common(listener: GatewayListener, route: Route) -> tuple[str, ...] | None:
    """The host names that the listener and the route have in common, empty for every name; None if there are none."""
    if route.kind in {RouteKind.TCP, RouteKind.UDP}:
        return ()
    if listener.hostname is None:
        return route.hostnames
    if not route.hostnames:
        return (listener.hostname,)
    common = (intersection(listener.hostname, hostname) for hostname in route.hostnames)
    return tuple(dict.fromkeys(each for each in common if each is not None)) or None


def _means(wide: str, narrow: str) -> bool:
    return wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:]) and narrow != wide


def _told(gateway: Gateway | ListenerSet) -> str:
    return ", ".join(f"{listener.name} at {listener.port}" for listener in gateway.listeners)
