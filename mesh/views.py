"""What proxies see: the frozen, whole inputs of rendering.

Each view is made from a MeshState by a function below and holds nothing that does not decide the bytes, so equal
views are rendered once, however many proxies share them. `origin` is provenance and no part of the value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from mesh import backend_tls, direct, external, routing
from mesh.external import External, Origination
from mesh.interception import Interception
from mesh.localities import Placement, Spread, admitted, placed
from mesh.names import DEFAULT_PORT, Key
from mesh.policy import PolicyName
from mesh.rules import BackendView, RuleView
from mesh.service import Labels, Protocol, ServicePort
from mesh.state import MeshState
from mesh.targeting import Caller
from mesh.workload import Endpoint, Locality, Workload

NOWHERE = Locality()


@dataclass(frozen=True, slots=True)
class SubsetView:
    """A subset of the service it stands in: the endpoints that have all of `labels`."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as its callers of one namespace see it. `identities` are the SPIFFE ids a caller accepts, sorted, never empty.

    `routes`: for each port number that routes are attached to, their rules, the first that matches wins, and what none
    matches is a 404. A port that is not there has no routes: all goes to the port itself.

    `external` is there for one outside the mesh, and `hosts` are then the names that lead to it. `tls`: by port number, what is spoken
    to endpoints that are not of the mesh where a BackendTLSPolicy says so. `direct`: for endpoints that are called by their own
    addresses, the service accounts that they may have, each with its SPIFFE ids (see `mesh.direct`).
    """

    key: Key
    ports: tuple[ServicePort, ...]
    trust_domain: str
    identities: tuple[str, ...]
    subsets: tuple[SubsetView, ...] = ()
    routes: tuple[tuple[int, tuple[RuleView, ...]], ...] = ()
    external: External | None = None
    hosts: tuple[str, ...] = ()
    tls: tuple[tuple[int, Origination], ...] = ()
    direct: tuple[tuple[str, tuple[str, ...]], ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class EndpointsView:
    """The endpoints of one port of a service, or of a subset of it, by workload key; none is critical.

    `placements`: what each of their localities is to the caller; none are given where all are equal. `overprovisioning`: see `Spread`.
    """

    service: Key
    port: ServicePort
    endpoints: tuple[Endpoint, ...]
    subset: str = ""
    placements: tuple[Placement, ...] = ()
    overprovisioning: int | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ScopeView:
    """The host names by which callers of one namespace reach a service that has an HTTP port: those of the mesh, or `hosts`."""

    service: Key
    caller_namespace: str
    hosts: tuple[str, ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class LocalListener:
    """An explicit local port, on loopback, that leads to one port of a service; or, where routes for TCP say so, to `backends`."""

    local_port: int
    service: Key
    port: ServicePort
    backends: tuple[BackendView, ...] = ()


@dataclass(frozen=True, slots=True)
class WildcardView:
    """A port of a service outside the mesh whose hosts are wildcards. `domains` are the authorities that mean it."""

    service: Key
    port: int
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutboundListenersView:
    """The listeners of a sidecar for its workload's calls. `bind` is the loopback address they listen on.

    With `interception` they take whatever the workload calls.
    """

    bind: str
    http_port: int
    local: tuple[LocalListener, ...]
    interception: Interception | None = None
    wildcards: tuple[WildcardView, ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Served:
    """One port of a service that a workload serves, and the port of its application. `captured`: connections to that very port
    are intercepted.
    """

    service: Key
    port: ServicePort
    app_port: int
    captured: bool = False


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port on which the sidecar takes mesh TLS, and all that is served behind it, told apart by SNI.

    `captured`: it is the application's port, and the sidecar has no listener on it but takes what is sent there.
    """

    sidecar_port: int
    name: str
    protocol: Protocol
    served: tuple[Served, ...]
    captured: bool = False

    @property
    def one_application(self) -> bool:
        """Whether all that is served here is the same. Of several, nothing but SNI says which one is called."""
        return len({(each.app_port, each.port.protocol) for each in self.served}) == 1


@dataclass(frozen=True, slots=True)
class InboundView:
    """What a sidecar takes for its workload. `bind`: the workload's own address if that is loopback, else all. `federated`: the foreign
    trust domains whose callers are let in as well. `aliases`: see `mesh.identity.TrustDomains`.
    """

    bind: str
    trust_domain: str
    ports: tuple[InboundPort, ...]
    interception: Interception | None = None
    federated: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class OutboundScope:
    """Which services a proxy may call: all of them when `services` is None. The proxies of equal scopes share one.

    `facets` are the policies for some callers only that concern this one. `locality` is where it is, if any policy goes by that.
    `certificate`: what a gateway shows to servers that are not of the mesh, of a Secret document. `edge`: it is a gateway, which see
    `mesh.backend_tls.of_ports`.
    """

    namespace: str
    services: tuple[Key, ...] | None
    facets: frozenset[PolicyName] = frozenset()
    locality: Locality = NOWHERE
    certificate: Key | None = None
    edge: bool = False

    def admits(self, service: Key) -> bool:
        return self.services is None or service in self.services


def service_view(
    state: MeshState,
    key: Key,
    caller_namespace: str = "",
    certificate: Key | None = None,
    *,
    edge: bool = False,
) -> ServiceView:
    """With the routes that callers of `caller_namespace` (empty: the service's own) follow. `certificate`, `edge`: see `OutboundScope`."""
    service = state.services[key]
    return ServiceView(
        key=key,
        ports=service.ports,
        trust_domain=state.trust_domain,
        identities=tuple(sorted(identity.uri for identity in state.identities(key))),
        subsets=tuple(SubsetView(each.key.name, each.labels) for each in state.subsets_of(key)),
        routes=routing.port_rules(state, key, caller_namespace or key.namespace),
        external=_shown(service.external, certificate),
        hosts=external.owned(state, service),
        tls=backend_tls.of_ports(state, service, certificate, edge=edge),
        # Nothing is intercepted for a gateway: what it calls, it calls by name.
        direct=() if edge else direct.accounts(state, key),
        origin=service.origin,
    )


def _shown(external: External | None, certificate: Key | None) -> External | None:
    if external is None or external.tls is None:
        return external
    return replace(external, tls=replace(external.tls, certificate=certificate))


Called = Callable[[tuple[Endpoint, ...], ServicePort], tuple[Endpoint, ...]]
"""Endpoints of a port as callers speak to them (see `mesh.transport`)."""


def endpoints_views(
    state: MeshState,
    key: Key,
    spread: Spread | None = None,
    caller: Locality = NOWHERE,
    called: Called | None = None,
) -> Iterator[EndpointsView]:
    """One view for each port of the service, and of each of its subsets, as callers in the locality `caller` see them; none for one
    outside, whose clusters say where it is. `called` None: whoever has a sidecar is spoken to in mesh TLS.
    """
    service = state.services[key]

    def view(
        port: ServicePort, endpoints: tuple[Endpoint, ...], subset: str, origin: tuple[str, ...]
    ) -> EndpointsView:
        if spread is None:
            return EndpointsView(key, port, endpoints, subset, origin=origin)
        kept = admitted(spread, endpoints, caller)
        return EndpointsView(
            key, port, kept, subset, placed(spread, kept, caller), spread.overprovisioning, origin
        )

    for port in service.ports if service.external is None else ():
        endpoints = state.endpoints(key, port)
        if called is not None:
            endpoints = called(endpoints, port)
        yield view(port, endpoints, "", service.origin)
        for subset in state.subsets_of(key):
            wanted = set(subset.labels)
            some = tuple(each for each in endpoints if wanted <= set(each.labels))
            yield view(port, some, subset.key.name, (*service.origin, *subset.origin))


def scope_view(state: MeshState, key: Key, caller_namespace: str) -> ScopeView | None:
    """None for a service without an HTTP port, which cannot be told by host name, and for one outside without a plain host."""
    service = state.services[key]
    if not any(port.protocol.is_http for port in service.ports):
        return None
    if service.external is None:
        return ScopeView(key, caller_namespace, origin=service.origin)
    hosts = () if service.external.wildcard else external.owned(state, service)
    return ScopeView(key, "", hosts, origin=service.origin) if hosts else None


def outbound_scope(state: MeshState, workload: Workload) -> OutboundScope:
    """What `workload` names, and what the routes of that lead to; all, if it names nothing."""
    namespace, services = workload.key.namespace, None
    if workload.uses is not None:
        named = {use.service for use in workload.uses}
        services = tuple(sorted(routing.reachable(state, named, namespace)))
    caller = Caller(workload.key, workload.service_account, workload.services)
    locality = workload.locality if state.policies.by_locality else NOWHERE
    return OutboundScope(namespace, services, state.policies.facets(caller), locality)


def outbound_listeners_view(state: MeshState, workload: Workload) -> OutboundListenersView:
    """The view, less local ports of services or ports that are not (or not yet) declared."""
    local, namespace = [], workload.key.namespace
    for use in workload.uses or ():
        service = state.services.get(use.service)
        if use.local_port is None or service is None:
            continue
        port = (
            service.port_named(use.port)
            if use.port
            else (service.ports[0] if len(service.ports) == 1 else None)
        )
        # A local port does not say which name behind a wildcard is meant.
        wildcard = service.external is not None and service.external.wildcard
        if port is not None and not wildcard:
            backends = (
                () if port.protocol.is_http else routing.tcp_backends(state, use.service, port, namespace)
            )
            local.append(LocalListener(use.local_port, use.service, port, backends))
    bind = workload.address if _is_loopback(workload.address) else "127.0.0.1"
    return OutboundListenersView(
        bind,
        workload.outbound_port,
        tuple(sorted(local, key=lambda each: each.local_port)),
        workload.interception,
        wildcards=tuple(_wildcards(state, workload)),
        origin=workload.origin,
    )


def _wildcards(state: MeshState, workload: Workload) -> Iterator[WildcardView]:
    """Of the services that `workload` may call, by name and port."""
    claimed = {claims[0] for host, claims in state.hosts.items() if host.startswith(external.WILDCARD)}
    if workload.uses is not None:
        claimed &= {use.service for use in workload.uses}
    for key in sorted(claimed):
        service = state.services[key]
        hosts = external.owned(state, service)
        for port in service.ports:
            domains = external.authorities(hosts, port.port)
            if service.external is not None and service.external.tls is not None:
                # TLS goes to port 443 where a request names none; one that does name 80 means plain HTTP.
                domains = tuple(each for each in domains if not each.endswith(f":{DEFAULT_PORT}"))
            if domains:
                yield WildcardView(key, port.port, domains)


def inbound_view(state: MeshState, workload: Workload) -> InboundView:
    grouped: dict[tuple[int, bool], list[tuple[str, Served]]] = {}
    for key in workload.services:
        service = state.services.get(key)
        for port in service.ports if service else ():
            mine = workload.port_of(key, port.name)
            if mine is None or mine.passed or port.protocol is Protocol.UDP:
                continue
            if mine.sidecar is not None:
                served = Served(key, port, mine.app)
                grouped.setdefault((mine.sidecar, False), []).append((mine.name, served))
            elif workload.interception is not None:
                served = Served(key, port, mine.app, captured=True)
                grouped.setdefault((mine.app, True), []).append((mine.name, served))
    ports = tuple(
        InboundPort(
            number, each[0][0], each[0][1].port.protocol, tuple(sorted(one for _, one in each)), captured
        )
        for (number, captured), each in sorted(grouped.items())
    )
    bind = workload.address if _is_loopback(workload.address) else _any_address(workload.address)
    return InboundView(
        bind,
        state.trust_domain,
        ports if workload.meshed else (),
        workload.interception if workload.meshed else None,
        state.federated if workload.meshed else (),
        state.aliases if workload.meshed else (),
        origin=workload.origin,
    )


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
