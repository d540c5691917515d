"""What a proxy that plays a gateway listens on: the frozen, whole input of rendering its listeners and routes.

Of the listeners on one port, a request belongs to the one with the most specific host name that means its own, and sees the routes of
that listener alone (https://gateway-api.sigs.k8s.io/reference/spec/#listener, "Listener isolation"). Among these, rules of the
route with the more specific host name come first; then the order of matches counts (HTTPRouteSpec.hostnames).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mesh import gateway_secrets
from mesh.edge_routes import ANY, Attachment, followed, wider
from mesh.gateway_references import Role
from mesh.gateway_secrets import Loaded
from mesh.gateways import Gateway, GatewayListener, ListenerProtocol, Place, TlsMode
from mesh.listener_sets import UDP, whole
from mesh.names import Key
from mesh.precedence import age
from mesh.routes import Route, RouteKind
from mesh.routing import backend_view, rule_views
from mesh.rules import BackendView, RuleView
from mesh.secrets import Bundle
from mesh.state import MeshState
from mesh.views import OutboundScope
from mesh.workload import Workload

HTTP = frozenset({ListenerProtocol.HTTP, ListenerProtocol.HTTPS})
TLS = frozenset({ListenerProtocol.HTTPS, ListenerProtocol.TLS})


@dataclass(frozen=True, slots=True)
class HostView:
    """The rules for one host name of a port, the first that matches wins; `host` may begin with `*.`, or be ANY.

    `sni`: that of the listener which it belongs to. On a port that takes TLS, a request that came in by a connection for another
    listener is misdirected (https://gateway-api.sigs.k8s.io/reference/spec/#listener, hostname; RFC 9110, 15.5.20).
    """

    host: str
    rules: tuple[RuleView, ...]
    sni: str = ANY


@dataclass(frozen=True, slots=True)
class ChainView:
    """What is done with connections to a port: with those for the server name `sni`, which may begin with `*.`, or be ANY.

    `certificates`: TLS is terminated with these, else it is not touched. `authorities`: clients must show a certificate of one of
    these, unless `optional`; none: no certificate is asked for. `http`: by the hosts of the port; else bytes go to `backends`.
    """

    sni: str
    http: bool
    certificates: tuple[Key, ...] = ()
    authorities: Bundle = ()
    optional: bool = False
    backends: tuple[BackendView, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgePort:
    """A port on which a gateway listens. `secure`: it takes TLS, and its chains are told apart by SNI."""

    port: int
    secure: bool
    chains: tuple[ChainView, ...]
    hosts: tuple[HostView, ...] = ()


@dataclass(frozen=True, slots=True)
class DatagramPort:
    """A port of UDP on which a gateway listens. What a client sends from one port of its own goes to one of `backends`."""

    port: int
    backends: tuple[BackendView, ...]


@dataclass(frozen=True, slots=True)
class GatewayView:
    """`binds`: the addresses to listen on, one or more. No ports: there is no such Gateway, or nothing can be served yet. `certificate`:
    what is shown to backends that speak TLS, of a Secret document.
    """

    key: Key
    binds: tuple[str, ...]
    ports: tuple[EdgePort, ...]
    datagrams: tuple[DatagramPort, ...] = ()
    certificate: Key | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)

    def backends(self) -> Iterator[BackendView]:
        """Everywhere that traffic may go, mirrors and questions about it too."""
        for each in self.datagrams:
            yield from each.backends
        for port in self.ports:
            for chain in port.chains:
                yield from chain.backends
            for rule in (each for host in port.hosts for each in host.rules):
                yield from (each.backend for each in rule.mirrors)
                if rule.authorizer is not None:
                    yield rule.authorizer.backend
                for backend in rule.backends:
                    yield backend
                    yield from (each.backend for each in backend.mirrors)


def gateway_view(state: MeshState, key: Key, workload: Workload, loaded: Loaded) -> GatewayView:
    """For `workload`, which plays the gateway `key`. A listener that has no certificate that could be read is left out until it has one."""
    own = declared(state, key)
    if own is None:
        return GatewayView(key, _binds(workload, ()), (), origin=workload.origin)
    attached, gateway = followed(state, own), whole(state, own)
    origin = (*gateway.origin, *workload.origin)
    return GatewayView(
        key,
        _binds(workload, () if workload.fronted else gateway.addresses),
        tuple(each for each in _ports(state, gateway, attached, loaded) if each.chains),
        tuple(_datagrams(state, gateway, attached)),
        gateway_secrets.client_certificate(state, own, loaded),
        origin=tuple(dict.fromkeys(origin)),
    )


def gateway_scope(state: MeshState, scope: OutboundScope, view: GatewayView) -> OutboundScope:
    """`scope`, that of a workload, narrowed to what the routes of the gateway that it plays lead to, with what that shows to them."""
    reached = {each.service for each in view.backends() if not each.problem}
    services = tuple(sorted(reached.intersection(state.services)))
    return replace(scope, services=services, certificate=view.certificate, edge=True)


def declared(state: MeshState, key: Key) -> Gateway | None:
    """The gateway as its own document has it, without its ListenerSets."""
    found = state.declared.get(("Gateway", key))
    return found if isinstance(found, Gateway) else None


def _ports(
    state: MeshState, gateway: Gateway, attached: Sequence[Attachment], loaded: Loaded
) -> Iterator[EdgePort]:
    """Sorted by number once, for a gateway may have a thousand, and each is to cost what is said of it."""
    here: dict[int, list[GatewayListener]] = {}
    for listener in gateway.listeners:
        if listener.protocol is not UDP:
            here.setdefault(listener.port, []).append(listener)
    served, mine = {each.place for each in gateway.listeners}, dict[int, list[Attachment]]()
    for each in attached:
        if each.listener.place in served:
            mine.setdefault(each.listener.port, []).append(each)
    for number, listeners in sorted(here.items()):
        yield _port(state, gateway, number, listeners, mine.get(number, ()), loaded)


def _port(
    state: MeshState,
    gateway: Gateway,
    number: int,
    here: Sequence[GatewayListener],
    mine: Sequence[Attachment],
    loaded: Loaded,
) -> EdgePort:
    chains: dict[str, ChainView] = {}
    for listener in here:
        for chain in _chains(state, gateway, listener, here, mine, loaded):
            chains.setdefault(chain.sni, chain)
    web = any(each.protocol in HTTP for each in here)
    return EdgePort(
        number,
        secure=any(each.protocol in TLS for each in here),
        chains=tuple(chain for _, chain in sorted(chains.items())),
        hosts=tuple(_hosts(state, here, mine)) if web else (),
    )


def _chains(
    state: MeshState,
    gateway: Gateway,
    listener: GatewayListener,
    here: Sequence[GatewayListener],
    mine: Sequence[Attachment],
    loaded: Loaded,
) -> Iterator[ChainView]:
    if listener.protocol is ListenerProtocol.HTTP:
        yield ChainView(ANY, http=True)  # one for all of the port: `hosts` tells them apart
        return
    certificates: tuple[Key, ...] = ()
    if listener.tls is not None and listener.tls.mode is TlsMode.TERMINATE:
        shown = gateway_secrets.usable(state, gateway, listener, Role.CERTIFICATE)
        certificates = tuple(each for each in shown if each in loaded.certificates)
        if not certificates:
            return
    if listener.protocol is ListenerProtocol.HTTPS:
        clients = gateway_secrets.clients(gateway, listener)
        made = ChainView(listener.hostname or ANY, http=True, certificates=certificates)
        if clients is not None:
            bundle = gateway_secrets.bundle(state, gateway, listener)
            made = replace(made, authorities=bundle, optional=clients.optional)
        if not gateway_secrets.closed_to_clients(state, gateway, listener, loaded):
            yield made
        return
    owners = {each.hostname or ANY: each for each in here}
    for each in sorted(
        (each for each in mine if each.listener is listener), key=lambda each: age(each.route)
    ):
        backends = _backends(state, each.route)
        # A TCPRoute knows no names: it takes what the listener takes.
        hosts = (listener.hostname or ANY,) if each.route.kind is RouteKind.TCP else each.hosts
        for host in hosts:
            if _owner(owners, host) is listener:
                yield ChainView(host, http=False, certificates=certificates, backends=backends)


def _datagrams(state: MeshState, gateway: Gateway, attached: Sequence[Attachment]) -> Iterator[DatagramPort]:
    """For each port of UDP that a route leads from; of several routes the oldest counts, for there is nothing to tell datagrams by."""
    followed: dict[Place, Route] = {}
    for each in attached:
        followed.setdefault(each.listener.place, each.route)
    for listener in sorted(gateway.listeners, key=lambda each: each.port):
        if listener.protocol is UDP and listener.place in followed:
            yield DatagramPort(listener.port, _backends(state, followed[listener.place]))


def _backends(state: MeshState, route: Route) -> tuple[BackendView, ...]:
    """Those of the only rule of a route of connections or datagrams."""
    rule = next(iter(route.rules), None)
    return () if rule is None else tuple(backend_view(state, route, to) for to in rule.backends)


def _hosts(
    state: MeshState, here: Sequence[GatewayListener], attached: Sequence[Attachment]
) -> Iterator[HostView]:
    """For every host name that a listener of a port or a route says, what is done with requests for it and for no more specific one."""
    owners = {each.hostname or ANY: each for each in here}
    # By listener and host: a gateway may have a thousand hosts, and each is to cost what is said of it.
    said: dict[tuple[Place, str], list[Route]] = {}
    for each in attached:
        if each.listener.protocol in HTTP:
            for host in each.hosts:
                said.setdefault((each.listener.place, host), []).append(each.route)
    for name in sorted({*owners, *(host for _, host in said)}):
        owner = _owner(owners, name)
        rules: list[RuleView] = []
        if owner is not None:
            seen: set[tuple[RouteKind, Key]] = set()
            for host in wider(name):
                # Of a route's several host names the most specific counts.
                routes = [
                    each for each in said.get((owner.place, host), ()) if (each.kind, each.key) not in seen
                ]
                seen.update((each.kind, each.key) for each in routes)
                rules.extend(rule_views(state, routes))
        yield HostView(name, tuple(rules), ANY if owner is None else owner.hostname or ANY)


def _owner(owners: Mapping[str, GatewayListener], host: str) -> GatewayListener | None:
    """The listener with the most specific host name that means all of `host`."""
    return next((owners[each] for each in wider(host) if each in owners), None)


def _binds(workload: Workload, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """What the Gateway says; else the workload's own address if that is loopback, and every address if not."""
    if addresses:
        return addresses
    try:
        own = ipaddress.ip_address(workload.address)
    except ValueError:
        return ("0.0.0.0",)
    if own.is_loopback:
        return (workload.address,)
    return ("::",) if own.version == 6 else ("0.0.0.0",)
