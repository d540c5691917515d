"""What proxies see: the frozen, whole inputs of rendering.

Each view is made from a MeshState by a function below and holds nothing that does not decide the bytes, so equal
views are rendered once, however many proxies share them. `origin` is provenance and no part of the value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from mesh.names import Key
from mesh.service import Protocol, ServicePort
from mesh.state import MeshState
from mesh.workload import Endpoint, Workload


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as all its callers see it. `identities` are the SPIFFE ids a caller accepts, sorted, never empty."""

    key: Key
    ports: tuple[ServicePort, ...]
    trust_domain: str
    identities: tuple[str, ...]
    virtual_address: str
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class EndpointsView:
    """The endpoints of one port of a service, by workload key; none is critical."""

    service: Key
    port: ServicePort
    endpoints: tuple[Endpoint, ...]
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ScopeView:
    """The host names by which callers of one namespace reach a service that has an HTTP port."""

    service: Key
    caller_namespace: str
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, order=True)
class LocalListener:
    """An explicit local port, on loopback, that leads to one port of a service."""

    local_port: int
    service: Key
    port: ServicePort


@dataclass(frozen=True, slots=True)
class OutboundListenersView:
    """The listeners of a sidecar for its workload's calls. `bind` is the loopback address they listen on."""

    bind: str
    http_port: int
    local: tuple[LocalListener, ...]
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Served:
    """One port of a service that a workload serves, and the port of its application."""

    service: Key
    port: ServicePort
    app_port: int


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port on which the sidecar takes mesh TLS, and all that is served behind it, told apart by SNI."""

    sidecar_port: int
    name: str
    protocol: Protocol
    served: tuple[Served, ...]


@dataclass(frozen=True, slots=True)
class InboundView:
    """What a sidecar takes for its workload. `bind`: the workload's own address if that is loopback, else all."""

    bind: str
    trust_domain: str
    ports: tuple[InboundPort, ...]
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class OutboundScope:
    """Which services a proxy may call: all of them when `services` is None. The proxies of equal scopes share one."""

    namespace: str
    services: tuple[Key, ...] | None

    def admits(self, service: Key) -> bool:
        return self.services is None or service in self.services


def service_view(state: MeshState, key: Key) -> ServiceView:
    service = state.services[key]
    return ServiceView(
        key=key,
        ports=service.ports,
        trust_domain=state.trust_domain,
        identities=tuple(sorted(identity.uri for identity in state.identities(key))),
        virtual_address=service.virtual_address,
        origin=service.origin,
    )


def endpoints_views(state: MeshState, key: Key) -> Iterator[EndpointsView]:
    """One view for each port of the service."""
    service = state.services[key]
    for port in service.ports:
        yield EndpointsView(key, port, state.endpoints(key, port), origin=service.origin)


def scope_view(state: MeshState, key: Key, caller_namespace: str) -> ScopeView | None:
    """None for a service without an HTTP port: it cannot be told by host name."""
    service = state.services[key]
    if not any(port.protocol.is_http for port in service.ports):
        return None
    return ScopeView(key, caller_namespace, origin=service.origin)


def outbound_scope(workload: Workload) -> OutboundScope:
    services = None if workload.uses is None else tuple(sorted({use.service for use in workload.uses}))
    return OutboundScope(workload.key.namespace, services)


def outbound_listeners_view(state: MeshState, workload: Workload) -> OutboundListenersView:
    """The view, less local ports of services or ports that are not (or not yet) declared."""
    local = []
    for use in workload.uses or ():
        service = state.services.get(use.service)
        if use.local_port is None or service is None:
            continue
        port = (
            service.port_named(use.port)
            if use.port
            else (service.ports[0] if len(service.ports) == 1 else None)
        )
        if port is not None:
            local.append(LocalListener(use.local_port, use.service, port))
    bind = workload.address if _is_loopback(workload.address) else "127.0.0.1"
    return OutboundListenersView(bind, workload.outbound_port, tuple(sorted(local)), origin=workload.origin)


def inbound_view(state: MeshState, workload: Workload) -> InboundView:
    grouped: dict[int, list[tuple[str, Served]]] = {}
    for key in workload.services:
        service = state.services.get(key)
        for port in service.ports if service else ():
            mine = workload.port_named(port.name)
            if mine is not None and mine.sidecar is not None:
                grouped.setdefault(mine.sidecar, []).append((mine.name, Served(key, port, mine.app)))
    ports = tuple(
        InboundPort(
            sidecar, served[0][0], served[0][1].port.protocol, tuple(sorted(each for _, each in served))
        )
        for sidecar, served in sorted(grouped.items())
    )
    bind = workload.address if _is_loopback(workload.address) else _any_address(workload.address)
    return InboundView(bind, state.trust_domain, ports if workload.meshed else (), origin=workload.origin)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _any_address(address: str) -> str:
    """The wildcard of the family of `address`."""
    try:
        return "::" if ipaddress.ip_address(address).version == 6 else "0.0.0.0"
    except ValueError:
        return "0.0.0.0"
