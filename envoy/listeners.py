"""Listeners: where a sidecar takes its workload's calls, and the calls to its workload.

The fields of a listener itself are constant for its port: a change of one drains every connection of the listener, a change of
its filter chains only those of the chains that changed.
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/listener/v3/listener.proto
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy import connection, datagrams, fallback, names, plaintext, routes, tls
from envoy.packing import listen_on, pack
from envoy.seams import NOTHING, ListenerSeams, Parts
from envoy.shares import by_weight
from mesh.names import Key, authorities, sni
from mesh.rules import BackendView
from mesh.service import Protocol, ServicePort
from mesh.views import InboundPort, InboundView, LocalListener, OutboundListenersView, Served, ServiceView
from pb.envoy.config.core.v3.base_pb2 import TrafficDirection
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"


def outbound(view: OutboundListenersView, seams: ListenerSeams) -> Iterator[Listener]:
    """HTTP to every service by host name on one port, and one listener for each explicit local port."""
    parts = seams.outbound
    if view.interception is None:  # else that port takes everything: see `capture`
        by_name = start(names.OUTBOUND, view.bind, view.http_port, TrafficDirection.OUTBOUND, parts)
        filters = (*seams.filters, *fallback.filters(view, parts))
        manager = connection.by_host_name(parts, filters)
        connection.http_chain(by_name.filter_chains.add(), manager, parts)
        yield by_name
    for local in view.local:
        yield _local(view.bind, local, seams)


def inbound(view: InboundView, seams: ListenerSeams) -> Iterator[Listener]:
    """One listener for each port on which the sidecar takes mesh TLS.

    What is not mesh TLS for a service behind the port, plaintext and other server names, matches no filter chain, unless a policy
    says that it is taken (see `plaintext`): the connection is closed.
    """
    for port in view.ports:
        if port.served and not port.captured:
            yield _inbound(view, port, seams)


def inbound_routes(view: InboundView, seams: ListenerSeams) -> Iterator[RouteConfiguration]:
    """For each HTTP port that is served: whatever is asked goes to the application, as policies say."""
    for port in view.ports:
        for served in port.served:
            if served.port.protocol.is_http:
                chain = names.inbound_chain(served.service, served.port)
                made = routes.inbound(
                    served.port,
                    names.inbound_cluster(served.app_port, served.port.protocol, captured=served.captured),
                    seams.chain(chain),
                )
                made.name = names.inbound_route(served.service, served.port)
                yield made


def api(view: ServiceView, caller_namespace: str) -> Iterator[Listener]:
    """Listeners for gRPC clients that speak xDS themselves: named by what follows `xds:///` (gRFC A27)."""
    for port in view.ports:
        if not port.protocol.is_http:
            continue
        for authority in authorities(view.key, port.port, caller_namespace):
            made = Listener(name=authority)
            manager = connection.api_listener(names.port_route(view.key, port.port))
            pack(made.api_listener.api_listener, manager)
            yield made


def _local(bind: str, local: LocalListener, seams: ListenerSeams) -> Listener:
    if local.port.protocol is Protocol.UDP:
        name, to = (
            names.outbound_datagrams(local.local_port),
            _backends(local.service, local.port, local.backends),
        )
        return datagrams.listener(name, (bind,), local.local_port, TrafficDirection.OUTBOUND, to)
    name, parts = names.outbound_local(local.local_port), seams.outbound
    made = start(name, bind, local.local_port, TrafficDirection.OUTBOUND, parts)
    to_port(made.filter_chains.add(), name, local.service, local.port, local.backends, seams)
    return made


def to_port(
    chain: FilterChain,
    stat_prefix: str,
    service: Key,
    port: ServicePort,
    backends: tuple[BackendView, ...],
    seams: ListenerSeams,
) -> None:
    """Make `chain` lead to one port of a service: HTTP by its routes, whatever the authority; TCP to `backends`, or to itself."""
    parts = seams.outbound
    if port.protocol.is_http:
        route = names.port_route(service, port.port)
        connection.http_chain(chain, connection.to_route(stat_prefix, route, parts, seams.filters), parts)
    else:
        to = _backends(service, port, backends)
        connection.tcp_chain(chain, connection.tcp_to(stat_prefix, *to, parts=parts), parts)


def _backends(
    service: Key, port: ServicePort, backends: tuple[BackendView, ...]
) -> tuple[tuple[str, int], ...]:
    """Clusters and weights: the service itself, if no route says otherwise."""
    return by_weight(backends) if backends else ((names.cluster(service, port.port), 1),)


def _inbound(view: InboundView, port: InboundPort, seams: ListenerSeams) -> Listener:
    made = start(
        names.inbound(port.sidecar_port), view.bind, port.sidecar_port, TrafficDirection.INBOUND, NOTHING
    )
    inspector = made.listener_filters.add()
    inspector.name = TLS_INSPECTOR
    pack(inspector.typed_config, TlsInspector())
    if not all(served.port.protocol.is_http for served in port.served):
        plaintext.wait_for_the_silent(made)
    for served in port.served:
        mesh_chain(made.filter_chains.add(), view, served, seams)
    plaintext.add_chains(made, port, seams)
    return made


def mesh_chain(chain: FilterChain, view: InboundView, served: Served, seams: ListenerSeams) -> None:
    """Make `chain` take mesh TLS for one port of a service."""
    chain.name = names.inbound_chain(served.service, served.port)
    parts = seams.chain(chain.name)
    chain.filter_chain_match.transport_protocol = "tls"
    # Callers ask for the name of the trust domain that they have heard of.
    chain.filter_chain_match.server_names.extend(
        sni(served.service, served.port.port, each) for each in (view.trust_domain, *view.aliases)
    )
    # A caller that opens a connection and never finishes its handshake holds nothing for ever.
    chain.transport_socket_connect_timeout.seconds = 15
    cluster = names.inbound_cluster(served.app_port, served.port.protocol, captured=served.captured)
    callers = (view.trust_domain, *view.aliases, *view.federated)
    if served.port.protocol.is_http:
        tls.downstream(
            chain.transport_socket, trust_domains=callers, alpn=("h2", "http/1.1"), parameters=parts.tls
        )
        route = names.inbound_route(served.service, served.port)
        manager = connection.to_application(cluster, route, parts, seams.filters)
        connection.http_chain(chain, manager, parts)
    else:
        tls.downstream(chain.transport_socket, trust_domains=callers, parameters=parts.tls)
        proxy = connection.tcp_to(cluster, (cluster, 1), parts=parts, log=names.SERVED_LOG)
        connection.tcp_chain(chain, proxy, parts)


def start(name: str, bind: str, port: int, direction: TrafficDirection.ValueType, parts: Parts) -> Listener:
    """A listener without filter chains, with what `parts` say of it."""
    made = Listener.FromString(parts.listener)
    made.name, made.traffic_direction = name, direction
    listen_on(made.address, bind, port)
    # With SO_REUSEPORT, Envoy's default, a second sidecar on the same port would silently get a part of the connections. With
    # one socket for all workers Envoy refuses the listener instead. The kernel spreads connections over workers no longer,
    # so Envoy does: the few long ones of a mesh would else gather on one. Neither is ever changed on a living listener.
    made.enable_reuse_port.value = False
    made.connection_balance_config.exact_balance.SetInParent()
    return made
