"""What a sidecar listens on where the kernel hands it all of a host's TCP (`meshwright intercept`).

REDIRECT changes where a connection goes; the `original_dst` filter asks the kernel where it was going, and `use_original_dst` hands
it to the listener of that address, if there is one. Such a listener has no socket of its own (`bind_to_port: false`), and runs its
own listener filters: nothing that would wait for the client's first bytes stands before it.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/listener_filters/original_dst_filter
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy import clusters, connection, fallback, listeners, names, plaintext, routes
from envoy.packing import listen_on, pack
from envoy.seams import NOTHING, ListenerSeams, Parts
from mesh.direct import DirectView
from mesh.interception import Interception
from mesh.names import VIRTUAL_NETWORK
from mesh.views import InboundView, OutboundListenersView
from mesh.virtual import VirtualPort, VirtualView
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import TrafficDirection
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from pb.envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

LOOPBACK, LOOPBACK_IPV6 = "127.0.0.1", "::1"
"""Where REDIRECT sends what leaves the host: https://manpages.debian.org/iptables-extensions. Nobody else can come there."""

ANY, ANY_IPV6 = "0.0.0.0", "::"
DNS_PORT = 53
ORIGINAL_DST = "envoy.filters.listener.original_dst"
NO_CHECK = "plaintext is for declared health checks only; all else needs the mutual TLS of the mesh\n"


def outbound(view: OutboundListenersView, seams: ListenerSeams) -> Iterator[Listener]:
    """All that a workload calls: what no virtual address takes goes where it was going, unless a policy refuses what is unknown.
    Queries for names by TCP do so, too.

    Whoever calls the port itself, on loopback, is taken at his word: HTTP by host name. A port that a service does not have is
    closed: there is no host behind such an address that could say so, and callers would wait for it.
    """
    if view.interception is None:
        return
    parts, ipv6 = seams.outbound, view.interception.ipv6
    made = listeners.start(names.OUTBOUND, LOOPBACK, view.http_port, TrafficDirection.OUTBOUND, parts)
    _captures(made, LOOPBACK_IPV6 if ipv6 else None, view.http_port, hand_over=True)
    by_name = made.filter_chains.add()
    by_name.name = names.OUTBOUND
    by_name.filter_chain_match.destination_port.value = view.http_port
    for address, length in ((LOOPBACK, 8), *(((LOOPBACK_IPV6, 128),) if ipv6 else ())):
        loopback = by_name.filter_chain_match.prefix_ranges.add()
        loopback.address_prefix, loopback.prefix_len.value = address, length
    filters = (*seams.filters, *fallback.filters(view, parts))
    connection.http_chain(by_name, connection.by_host_name(parts, filters), parts)
    no_port = made.filter_chains.add()
    no_port.name = names.NOWHERE
    network = no_port.filter_chain_match.prefix_ranges.add()
    network.address_prefix = str(VIRTUAL_NETWORK.network_address)
    network.prefix_len.value = VIRTUAL_NETWORK.prefixlen
    _pass_on(no_port, names.NOWHERE, names.NOWHERE, parts)
    if not parts.refuse_unknown:
        _pass_on(made.default_filter_chain, names.PASSTHROUGH, names.PASSTHROUGH, parts)
    yield made
    yield _dns_by_tcp(view.interception)


def virtual(view: VirtualView, seams: ListenerSeams) -> Iterator[Listener]:
    """A listener for each port of a virtual address: a change of one touches no connection of another."""
    for port in view.ports:
        yield _virtual(view, port, seams)


def direct(view: DirectView, seams: ListenerSeams) -> Listener:
    """The listener of an endpoint's own address. Each has its own: whoever comes or goes touches no connection of another."""
    name, parts = names.direct(view.address, view.number), seams.outbound
    made = listeners.start(name, view.address, view.number, TrafficDirection.OUTBOUND, parts)
    made.bind_to_port.value = False
    chain = made.filter_chains.add()
    if view.account is None:
        _pass_on(chain, names.NOWHERE, names.NOWHERE, parts)
        return made
    cluster = names.direct_cluster(view.service, view.port.port, view.account)
    if view.port.protocol.is_http:
        connection.http_chain(chain, connection.to_route(cluster, cluster, parts, seams.filters), parts)
    else:
        _pass_on(chain, cluster, cluster, parts)
    return made


def inbound(view: InboundView, seams: ListenerSeams) -> Iterator[Listener]:
    """All that comes to a workload: mesh TLS for what it serves, plaintext where a policy says so, and the health checks that are
    declared to come without.

    Anything else matches no filter chain: the connection is closed. So is one to the port itself, which would come from
    this listener to this listener for ever. None is ever handed to another listener: a service may have the address of this very
    host as its virtual address, and whoever comes from outside must not call it in the workload's name.
    """
    if view.interception is None:
        return
    port, ipv6 = view.interception.inbound_port, view.interception.ipv6
    made = listeners.start(names.inbound(port), ANY, port, TrafficDirection.INBOUND, NOTHING)
    _captures(made, ANY_IPV6 if ipv6 else None, port, hand_over=False)
    inspector = made.listener_filters.add()
    inspector.name = listeners.TLS_INSPECTOR
    pack(inspector.typed_config, TlsInspector())
    _inspect_all_but(inspector, sorted(_quiet(view)))
    plaintext.wait_for_the_silent(made)
    plain = {each.sidecar_port for each in view.ports if plaintext.taken(each, seams)}
    for each in view.ports:
        for served in each.served:
            chain = made.filter_chains.add()
            listeners.mesh_chain(chain, view, served, seams)
            chain.filter_chain_match.destination_port.value = each.sidecar_port
        plaintext.add_chains(made, each, seams, each.sidecar_port)
    for number, paths in _checks(view.interception).items():
        if number in plain:
            continue  # a check is plaintext like any other there
        chain = made.filter_chains.add()
        chain.name = names.check_route(number)
        chain.filter_chain_match.destination_port.value = number
        if paths:
            chain.filter_chain_match.transport_protocol = "raw_buffer"
            manager = connection.to_application(names.CHECKS, chain.name, NOTHING, (), proved=False)
            connection.http_chain(chain, manager)
        else:
            _pass_on(chain, names.CHECKS, names.CHECKS, NOTHING)
    if made.filter_chains:
        # Envoy takes no listener without a chain; where a host serves nothing, the kernel refuses whoever comes.
        yield made


def check_routes(view: InboundView) -> Iterator[RouteConfiguration]:
    """For each port with checks of a path: these to the application, anything else is refused."""
    if view.interception is None:
        return
    for number, paths in _checks(view.interception).items():
        if paths:
            yield routes.checks(names.check_route(number), paths, names.CHECKS, NO_CHECK)


def inbound_clusters(view: InboundView) -> Iterator[Cluster]:
    if view.interception is not None and view.interception.checks:
        yield clusters.checks()


def outbound_clusters(view: OutboundListenersView) -> Iterator[Cluster]:
    if view.interception is not None:
        yield clusters.passthrough()


def _captures(made: Listener, ipv6: str | None, port: int, *, hand_over: bool) -> None:
    """Make `made` ask the kernel where connections were going, first of all, and perhaps hand them to the listener of that address."""
    if hand_over:
        made.use_original_dst.value = True
    others = list(made.listener_filters)
    made.ClearField("listener_filters")
    _add_original_dst(made)
    made.listener_filters.extend(others)
    if ipv6 is not None:
        listen_on(made.additional_addresses.add().address, ipv6, port)
        # An address that IPv6 lacks while it is switched off must not cost the host its IPv4.
        made.freebind.value = True


def _add_original_dst(made: Listener) -> None:
    added = made.listener_filters.add()
    added.name = ORIGINAL_DST
    pack(added.typed_config, OriginalDst())


def _virtual(view: VirtualView, port: VirtualPort, seams: ListenerSeams) -> Listener:
    name = names.virtual(view.service, port.port.port)
    made = listeners.start(name, view.address, port.port.port, TrafficDirection.OUTBOUND, seams.outbound)
    made.bind_to_port.value = False
    chain = made.filter_chains.add()
    if view.external and port.port.protocol.is_http:
        route = names.route(
            view.service
        )  # by authority, so that the server outside is asked for the very host
        manager = connection.to_route(name, route, seams.outbound, seams.filters)
        connection.http_chain(chain, manager, seams.outbound)
    else:
        listeners.to_port(chain, name, view.service, port.port, port.backends, seams)
    return made


def _dns_by_tcp(interception: Interception) -> Listener:
    """To the server that was asked: the DNS filter speaks UDP only."""
    made = listeners.start(names.DNS_TCP, LOOPBACK, interception.dns_port, TrafficDirection.OUTBOUND, NOTHING)
    if interception.ipv6:
        listen_on(made.additional_addresses.add().address, LOOPBACK_IPV6, interception.dns_port)
        made.freebind.value = True
    _add_original_dst(made)
    chain = made.filter_chains.add()
    chain.filter_chain_match.destination_port.value = DNS_PORT
    _pass_on(chain, names.DNS_TCP, names.PASSTHROUGH, NOTHING)
    return made


def _pass_on(chain: FilterChain, stat_prefix: str, cluster: str, parts: Parts) -> None:
    connection.tcp_chain(chain, connection.tcp_to(stat_prefix, (cluster, 1), parts=parts), parts)


def _checks(interception: Interception) -> dict[int, tuple[str, ...]]:
    """The paths of each port; none where all of the port is open."""
    found: dict[int, tuple[str, ...]] = {}
    for check in interception.checks:
        found[check.port] = (*found.get(check.port, ()), *((check.path,) if check.path is not None else ()))
    return found


def _quiet(view: InboundView) -> set[int]:
    """Ports that are open and serve nothing to the mesh: a client that waits for the server to speak is not kept waiting."""
    whole = (
        {number for number, paths in _checks(view.interception).items() if not paths}
        if view.interception
        else set()
    )
    return whole - {each.sidecar_port for each in view.ports}


def _inspect_all_but(inspector: ListenerFilter, ports: list[int]) -> None:
    if not ports:
        return
    rules = inspector.filter_disabled.or_match.rules if len(ports) > 1 else None
    for port in ports:
        match = rules.add() if rules is not None else inspector.filter_disabled
        match.destination_port_range.start, match.destination_port_range.end = port, port + 1
