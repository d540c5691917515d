"""Listeners and routes of a gateway: where traffic enters the mesh from outside.

One listener for each port, whose fields never change while the port takes the same: certificates, server names and backends are the
business of its filter chains, hosts and rules that of its route configuration, so that a change of these drains nothing else.
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/listener/v3/listener.proto
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy import connection, datagrams, http_routes, names, tls
from envoy.packing import listen_on, pack
from envoy.seams import GatewaySeams
from envoy.shares import by_weight
from mesh.edge_routes import ANY
from mesh.gateway_views import ChainView, EdgePort, GatewayView
from mesh.names import Key
from pb.envoy.config.core.v3.base_pb2 import TrafficDirection
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

BUFFER = 32 * 1024
"""Bytes that a connection may hold, as Envoy's page on edges has it: memory is then bounded by the limit of connections."""

MISDIRECTED = (
    "this connection is for another server name: come again by a new one, whose server name is the host\n"
)

HANDSHAKE = 15
"""Seconds that a client has for its part of the TLS handshake."""


def listeners(view: GatewayView, seams: GatewaySeams) -> Iterator[Listener]:
    for port in view.ports:
        yield _listener(view, port, seams)
    for each in view.datagrams:
        name = names.gateway_datagrams(each.port)
        yield datagrams.listener(
            name, view.binds, each.port, TrafficDirection.INBOUND, by_weight(each.backends)
        )


def routes(view: GatewayView, seams: GatewaySeams) -> Iterator[RouteConfiguration]:
    """For each port that takes HTTP: what none of its hosts and rules matches is a 404."""
    of_rules = seams.routes.of_rules()
    for port in view.ports:
        if not any(chain.http for chain in port.chains):
            continue
        made = RouteConfiguration(name=names.gateway_route(view.key, port.port))
        made.validate_clusters.value = False
        made.ignore_port_in_host_matching = True
        scheme = "https" if port.secure else "http"
        if port.secure:
            made.request_headers_to_remove.append(names.LISTENER)
        for each in port.hosts:
            host = made.virtual_hosts.add()
            host.name = each.host
            host.domains.append(each.host)
            if port.secure:
                _of_another_listener(host.routes.add(), each.sni)
            host.routes.extend(
                http_routes.routes(each.rules, of_rules, seams.routes.service, port=port.port, scheme=scheme)
            )
        yield made


def clusters(view: GatewayView) -> tuple[str, ...]:
    """The clusters that it leads to, each once."""
    return tuple(
        dict.fromkeys(
            names.cluster(each.service, each.port, each.subset)
            for each in view.backends()
            if not each.problem
        )
    )


def _listener(view: GatewayView, port: EdgePort, seams: GatewaySeams) -> Listener:
    made = Listener.FromString(seams.of(port.port, http=any(chain.http for chain in port.chains)).listener)
    made.name = names.gateway_listener(port.port)
    made.traffic_direction = TrafficDirection.INBOUND
    first, *others = view.binds
    listen_on(made.address, first, port.port)
    for each in others:
        listen_on(made.additional_addresses.add().address, each, port.port)
    # As for sidecars: a second proxy on this port is refused, instead of taking a part of the connections.
    made.enable_reuse_port.value = False
    made.connection_balance_config.exact_balance.SetInParent()
    made.per_connection_buffer_limit_bytes.value = BUFFER
    if port.secure:
        inspector = made.listener_filters.add()
        inspector.name = "envoy.filters.listener.tls_inspector"
        pack(inspector.typed_config, TlsInspector())
    for chain in port.chains:
        _chain(made.filter_chains.add(), view.key, port, chain, seams)
    return made


def _chain(made: FilterChain, gateway: Key, port: EdgePort, chain: ChainView, seams: GatewaySeams) -> None:
    made.name, parts = (
        f"{names.gateway_listener(port.port)}/{chain.sni}",
        seams.of(port.port, http=chain.http),
    )
    if port.secure:
        made.filter_chain_match.transport_protocol = "tls"
        if chain.sni != ANY:
            made.filter_chain_match.server_names.append(chain.sni)
    if chain.certificates:
        made.transport_socket_connect_timeout.seconds = HANDSHAKE
        tls.edge(
            made.transport_socket,
            certificates=[names.gateway_certificate(each) for each in chain.certificates],
            authorities=names.gateway_authorities(*chain.authorities) if chain.authorities else None,
            optional=chain.optional,
            alpn=("h2", "http/1.1") if chain.http else (),
        )
    stat_prefix = names.gateway_listener(port.port)
    if chain.http:
        route = names.gateway_route(gateway, port.port)
        sni = chain.sni if port.secure else None
        manager = connection.at_edge(
            stat_prefix, route, parts, seams.filters, sni=sni, verified=not chain.optional
        )
        connection.http_chain(made, manager, parts)
    else:
        proxy = connection.tcp_to(stat_prefix, *by_weight(chain.backends), parts=parts)
        connection.tcp_chain(made, proxy, parts)


def _of_another_listener(made: Route, sni: str) -> None:
    """Browsers use one connection for all hosts that its certificate names: they are sent to a connection of their own, where the other
    listener's certificate and demands on clients hold.
    """
    made.match.prefix = "/"
    own = made.match.headers.add(name=names.LISTENER, invert_match=True)
    own.string_match.exact = sni
    made.direct_response.status = 421
    made.direct_response.body.inline_string = MISDIRECTED
