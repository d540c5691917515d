"""Whether what a route refers to is there and may be referred to, as conditions of its status.

Rules: RouteParentStatus, BackendRef and ReferenceGrant of https://gateway-api.sigs.k8s.io/reference/spec/. A route of
the mesh needs no ReferenceGrant to send requests to the service that it is attached to, or to a subset of that: those
who call it may do so anyway. For any other backend of another namespace it does, for a route lets a workload reach
more than it `uses` (https://gateway-api.sigs.k8s.io/geps/gep-1294/#namespace-boundaries).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mesh import backend_tls
from mesh.attachment import SPOKEN, NamespaceLabels, NotAttached, listeners, no_labels, ports, selected
from mesh.gateways import Gateway, ListenerSet, ReferenceGrant
from mesh.listener_sets import refusal
from mesh.names import Key
from mesh.namespaces import labels_in
from mesh.routes import Backend, BackendKind, ParentKind, ParentRef, Route, RouteKind, Subset
from mesh.service import Protocol, Service, ServicePort

if TYPE_CHECKING:
    from mesh.state import MeshState


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a route at one of its parents. `reason` is a word of the Gateway API's."""

    parent: ParentRef
    type: ConditionType
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a backend cannot be used. `service`: which one it is about, as far as that is known; for it may come, or change."""

    reason: str
    message: str
    service: Key


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a backend is: a port of a service, or of its subset of that name (empty: all of it).

    `host`: what a service outside the mesh takes itself for; empty for one of the mesh.
    """

    service: Key
    port: int
    subset: str = ""
    host: str = ""


def _nowhere(_key: Key) -> None:
    return None


def _none(_namespace: str) -> tuple[ReferenceGrant, ...]:
    return ()


def _no_policy(_service: Service, _port: ServicePort) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Lookup:
    """What there is to refer to. A key of what is not there gives None. `services`: also those outside the mesh; `grants`: of a namespace.
    `tls`: whether a BackendTLSPolicy says how TLS is spoken to a port.
    """

    services: Callable[[Key], Service | None]
    subsets: Callable[[Key], Subset | None] = _nowhere
    gateways: Callable[[Key], Gateway | None] = _nowhere
    sets: Callable[[Key], ListenerSet | None] = _nowhere
    grants: Callable[[str], Iterable[ReferenceGrant]] = _none
    namespace_labels: NamespaceLabels = no_labels
    tls: Callable[[Service, ServicePort], bool] = _no_policy


def lookup(state: MeshState) -> Lookup:
    """What there is in `state`."""

    def subset(key: Key) -> Subset | None:
        found = state.declared.get(("ServiceSubset", key))
        return found if isinstance(found, Subset) else None

    def gateway(key: Key) -> Gateway | None:
        found = state.declared.get(("Gateway", key))
        return found if isinstance(found, Gateway) else None

    def listener_set(key: Key) -> ListenerSet | None:
        found = state.declared.get(("ListenerSet", key))
        return found if isinstance(found, ListenerSet) else None

    def grants(namespace: str) -> tuple[ReferenceGrant, ...]:
        return state.routing.grants.get(namespace, ())

    def tls(service: Service, port: ServicePort) -> bool:
        return service.key in state.backend_tls and backend_tls.of_port(state, service, port) is not None

    return Lookup(state.services.get, subset, gateway, listener_set, grants, labels_in(state), tls)


def problems(route: Route, lookup: Lookup) -> tuple[Condition, ...]:
    """The conditions of `route`, two for each of its parents in their order: Accepted, then ResolvedRefs.

    That another route takes its place (Conflicted) is not among them: see `mesh.precedence.prevailing`.
    """
    return tuple(
        condition
        for parent in route.parents
        for condition in (_accepted(route, parent, lookup), _resolved(route, parent, lookup))
    )


def resolve(route: Route, parent: Key | None, backend: Backend, lookup: Lookup) -> Resolved | Unresolved:
    """Where `backend` of `route` is for traffic of the service `parent` (None: of a gateway), or why it cannot be used.

    The share of one that is Unresolved is to be answered with 500, if HTTP requests; gRPC calls with UNAVAILABLE; and connections
    are to be refused. What routes do and what their status says both come from here.
    """
    key, subset = backend.key, ""
    if backend.kind is BackendKind.UNKNOWN:
        return Unresolved("InvalidKind", f"nothing can be sent to {backend}: that kind is no backend", key)
    narrowed = lookup.subsets(key) if backend.kind is BackendKind.SUBSET else None
    called = key if backend.kind is not BackendKind.SUBSET else None if narrowed is None else narrowed.service
    if not _permitted(route, backend, lookup, called_anyway=called is not None and called == parent):
        return Unresolved(
            "RefNotPermitted",
            f"no ReferenceGrant in namespace {key.namespace} permits {route.kind} of namespace "
            f"{route.key.namespace} to refer to {backend.kind} {key}",
            key,
        )
    if backend.kind is BackendKind.SUBSET:
        if narrowed is None:
            return _not_found(backend.kind, key)
        key, subset = narrowed.service, narrowed.key.name
    service = lookup.services(key)
    if service is None:
        return _not_found(
            BackendKind.EXTERNAL if backend.kind is BackendKind.EXTERNAL else BackendKind.SERVICE, key
        )
    outside = service.external
    if outside is None and backend.kind is BackendKind.EXTERNAL:
        return Unresolved(
            "BackendNotFound",
            f"{key} is a service of the mesh: refer to it as {BackendKind.SERVICE}, not {backend.kind}",
            key,
        )
    if outside is not None and outside.wildcard:
        return Unresolved(
            "UnsupportedValue",
            f"{backend}: which host of {', '.join(outside.hosts)} is meant is not said. Declare an ExternalService for that host",
            key,
        )
    port = _port(RouteKind.GRPC if backend.grpc else route.kind, backend, service, lookup)
    if isinstance(port, Unresolved):
        return port
    return Resolved(key, port.port, subset, outside.host if outside is not None else "")


def _permitted(route: Route, backend: Backend, lookup: Lookup, *, called_anyway: bool) -> bool:
    """Whether a reference stays in its namespace or is granted (https://gateway-api.sigs.k8s.io/api-types/referencegrant/).

    Of the mesh it needs no grant where those who follow the route call the backend anyway: consumer routes may lead to their parent.
    """
    namespace, name = backend.key.namespace, backend.key.name
    return (
        called_anyway
        or namespace == route.key.namespace
        or any(
            grant.permits(route.kind, route.key.namespace, backend.kind, name)
            for grant in lookup.grants(namespace)
        )
    )


def backend_port(backend: Backend, service: Service) -> ServicePort | None:
    """The port of `service` that `backend` means: that of its number, or the only one."""
    if backend.port is None:
        return service.ports[0] if len(service.ports) == 1 else None
    return next((port for port in service.ports if port.port == backend.port), None)


def _accepted(route: Route, parent: ParentRef, lookup: Lookup) -> Condition:
    refused = next(_refusals(route, parent, lookup), None)
    if refused is None:
        return Condition(parent, ConditionType.ACCEPTED, True, "Accepted", f"{parent} takes the route")
    return Condition(parent, ConditionType.ACCEPTED, False, refused.reason, refused.message)


def _refusals(route: Route, parent: ParentRef, lookup: Lookup) -> Iterator[NotAttached]:
    if parent.kind is not ParentKind.SERVICE:
        declares: Gateway | ListenerSet | None
        if parent.kind is ParentKind.LISTENER_SET:
            declares = lookup.sets(parent.key)
            why = declares is not None and refusal(
                lookup.gateways(declares.parent), declares, lookup.namespace_labels
            )
            if why:
                yield NotAttached("NoMatchingParent", f"{parent} is not attached: {why.partition(': ')[2]}")
                return
        else:
            declares = lookup.gateways(parent.key)
        if declares is None:
            yield NotAttached("NoMatchingParent", f"no document declares {parent.kind} {parent.key}")
            return
        attached = listeners(route, parent, declares, lookup.namespace_labels)
        if isinstance(attached, NotAttached):
            yield attached
        return
    service = lookup.services(parent.key)
    if service is None:
        yield NotAttached("NoMatchingParent", f"there is no {parent.kind} {parent.key}")
    elif not selected(parent, service):
        yield NotAttached("NoMatchingParent", f"no port of {parent}: it has {_ports(service)}")
    elif not ports(route, parent, service):
        yield NotAttached(
            "NoMatchingParent",
            f"no port of {parent} speaks what {route.kind} routes ({_spoken(route.kind)}): it has {_ports(service)}",
        )


def _resolved(route: Route, parent: ParentRef, lookup: Lookup) -> Condition:
    service = parent.key if parent.kind is ParentKind.SERVICE else None
    found = (resolve(route, service, backend, lookup) for backend in route.backends())
    wrong = list(dict.fromkeys(each for each in found if isinstance(each, Unresolved)))
    if not wrong:
        return Condition(parent, ConditionType.RESOLVED_REFS, True, "ResolvedRefs", "all backends are there")
    message = "; ".join(each.message for each in wrong)
    return Condition(parent, ConditionType.RESOLVED_REFS, False, wrong[0].reason, message)


def _port(kind: RouteKind, backend: Backend, service: Service, lookup: Lookup) -> ServicePort | Unresolved:
    port = backend_port(backend, service)
    if port is None:
        asked = "which port is not said" if backend.port is None else f"there is no port {backend.port}"
        return Unresolved(
            "BackendNotFound",
            f"{backend}: {asked}; Service {service.key} has {_ports(service)}",
            service.key,
        )
    # Connections of TCPRoutes and TLSRoutes may go to whatever takes connections.
    streams = kind in {RouteKind.TCP, RouteKind.TLS} and port.protocol is not Protocol.UDP
    # An HTTPRoute says itself that HTTP is spoken, where the service says nothing, or where TLS is put around it.
    said = kind is RouteKind.HTTP and (
        port.assumed or (port.protocol is Protocol.TLS and lookup.tls(service, port))
    )
    if not streams and not said and port.protocol not in SPOKEN[kind]:
        return Unresolved(
            "UnsupportedProtocol",
            f"{backend}: port {port.port} of Service {service.key} speaks {port.protocol}, and "
            f"{'gRPC' if backend.grpc else kind} needs {_spoken(kind)}",
            service.key,
        )
    return port


def _not_found(kind: BackendKind, key: Key) -> Unresolved:
    return Unresolved("BackendNotFound", f"there is no {kind} {key}", key)


def _ports(service: Service) -> str:
    return ", ".join(f"{port.name} at {port.port} ({port.protocol})" for port in service.ports)


def _spoken(kind: RouteKind) -> str:
    return " or ".join(sorted(SPOKEN[kind]))
