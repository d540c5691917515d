"""Whether what a route refers to is there and may be referred to, as conditions of its status.

Rules: RouteParentStatus, BackendRef and ReferenceGrant of https://gateway-api.sigs.k8s.io/reference/spec/. A route of
the mesh needs no ReferenceGrant to send requests to the service that it is attached to, or to a subset of that: those
who call it may do so anyway. For any other backend of another namespace it does, for a route lets a workload reach
more than it `uses` (https://gateway-api.sigs.k8s.io/geps/gep-1294/#namespace-boundaries).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.attachment import SPOKEN, NamespaceLabels, NotAttached, listeners, no_labels, ports, selected
from mesh.gateways import Gateway, ReferenceGrant
from mesh.names import Key
from mesh.routes import Backend, BackendKind, ParentKind, ParentRef, Route, RouteKind, Subset
from mesh.service import Service, ServicePort


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
    """Why a backend cannot be used."""

    reason: str
    message: str


def _nowhere(_key: Key) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What there is to refer to. A key of what is not there gives None."""

    services: Callable[[Key], Service | None]
    subsets: Callable[[Key], Subset | None] = _nowhere
    gateways: Callable[[Key], Gateway | None] = _nowhere
    externals: Callable[[Key], object | None] = _nowhere
    grants: tuple[ReferenceGrant, ...] = ()
    namespace_labels: NamespaceLabels = no_labels


def problems(route: Route, lookup: Lookup) -> tuple[Condition, ...]:
    """The conditions of `route`, two for each of its parents in their order: Accepted, then ResolvedRefs.

    That another route takes its place (Conflicted) is not among them: see `mesh.precedence.prevailing`.
    """
    return tuple(
        condition
        for parent in route.parents
        for condition in (_accepted(route, parent, lookup), _resolved(route, parent, lookup))
    )


def unresolved(route: Route, parent: ParentRef, backend: Backend, lookup: Lookup) -> Unresolved | None:
    """Why `backend` cannot be used by `route` for traffic of `parent`; None if it can.

    Its share of HTTP requests is to be answered with 500, of gRPC calls with UNAVAILABLE, and its share of
    connections is to be refused.
    """
    if not permitted(route, parent, backend, lookup):
        return Unresolved(
            "RefNotPermitted",
            f"no ReferenceGrant in namespace {backend.key.namespace} permits {route.kind} of namespace "
            f"{route.key.namespace} to refer to {backend.kind} {backend.key}",
        )
    key = backend.key
    if backend.kind is BackendKind.EXTERNAL:
        return None if lookup.externals(key) is not None else _not_found(f"{backend.kind} {key}")
    if backend.kind is BackendKind.SUBSET:
        subset = lookup.subsets(key)
        if subset is None:
            return _not_found(f"{backend.kind} {key}")
        key = subset.service
    service = lookup.services(key)
    return _not_found(f"Service {key}") if service is None else _port_problem(route.kind, backend, service)


def permitted(route: Route, parent: ParentRef, backend: Backend, lookup: Lookup) -> bool:
    """Whether `route` may refer to `backend` for traffic of `parent`, as far as namespaces are concerned."""
    namespace, name = backend.key.namespace, backend.key.name
    if namespace == route.key.namespace:
        return True
    if parent.kind is ParentKind.SERVICE and parent.key in {backend.key, _narrowed(backend, lookup)}:
        return True
    return any(
        grant.key.namespace == namespace
        and grant.permits(route.kind, route.key.namespace, backend.kind, name)
        for grant in lookup.grants
    )


def backend_port(backend: Backend, service: Service) -> ServicePort | None:
    """The port of `service` that `backend` means: that of its number, or the only one."""
    if backend.port is None:
        return service.ports[0] if len(service.ports) == 1 else None
    return next((port for port in service.ports if port.port == backend.port), None)


def _narrowed(backend: Backend, lookup: Lookup) -> Key | None:
    """The service of a subset."""
    subset = lookup.subsets(backend.key) if backend.kind is BackendKind.SUBSET else None
    return None if subset is None else subset.service


def _accepted(route: Route, parent: ParentRef, lookup: Lookup) -> Condition:
    refused = next(_refusals(route, parent, lookup), None)
    if refused is None:
        return Condition(parent, ConditionType.ACCEPTED, True, "Accepted", f"{parent} takes the route")
    return Condition(parent, ConditionType.ACCEPTED, False, refused.reason, refused.message)


def _refusals(route: Route, parent: ParentRef, lookup: Lookup) -> Iterator[NotAttached]:
    if parent.kind is ParentKind.GATEWAY:
        gateway = lookup.gateways(parent.key)
        if gateway is None:
            yield NotAttached("NoMatchingParent", f"no document declares {parent.kind} {parent.key}")
            return
        attached = listeners(route, parent, gateway, lookup.namespace_labels)
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
    found = (unresolved(route, parent, backend, lookup) for backend in route.backends())
    wrong = list(dict.fromkeys(each for each in found if each is not None))
    if not wrong:
        return Condition(parent, ConditionType.RESOLVED_REFS, True, "ResolvedRefs", "all backends are there")
    message = "; ".join(each.message for each in wrong)
    return Condition(parent, ConditionType.RESOLVED_REFS, False, wrong[0].reason, message)


def _port_problem(kind: RouteKind, backend: Backend, service: Service) -> Unresolved | None:
    port = backend_port(backend, service)
    if port is None:
        asked = "which port is not said" if backend.port is None else f"there is no port {backend.port}"
        return Unresolved(
            "BackendNotFound", f"{backend}: {asked}; Service {service.key} has {_ports(service)}"
        )
    if kind in {RouteKind.HTTP, RouteKind.GRPC} and port.protocol not in SPOKEN[kind]:
        return Unresolved(
            "UnsupportedProtocol",
            f"{backend}: port {port.port} of Service {service.key} speaks {port.protocol}, and {kind} needs "
            f"{_spoken(kind)}",
        )
    return None


def _not_found(what: str) -> Unresolved:
    return Unresolved("BackendNotFound", f"there is no {what}")


def _ports(service: Service) -> str:
    return ", ".join(f"{port.name} at {port.port} ({port.protocol})" for port in service.ports)


def _spoken(kind: RouteKind) -> str:
    return " or ".join(sorted(SPOKEN[kind]))
