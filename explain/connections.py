"""Which filter chain of a listener takes a connection.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from envoy import connection, names
from explain.resources import Held, Resources
from pb.envoy.config.core.v3.address_pb2 import CidrRange
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

TLS, PLAIN = "tls", "raw_buffer"
ORIGINAL_DST = "envoy.filters.listener.original_dst"
NETWORK_RBAC = RBAC.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection as it is made: where to, and whether in TLS, for which server name."""

    address: str
    port: int
    server_name: str = ""
    tls: bool = False


def taking(resources: Resources, dialled: Dialled) -> Held[Listener] | None:
    """The listener on that very port, else the one that all of a host's connections are sent to."""
    found = [each for each in resources.listeners() if not each.message.name.startswith(names.OUTBOUND)]
    for each in found:
        if each.message.address.socket_address.port_value == dialled.port:
            return each
    captured = (
        each
        for each in found
        if any(one.name == ORIGINAL_DST for one in each.message.listener_filters)
        and each.message.name.startswith("inbound/")
    )
    return next(captured, None)


def chain(listener: Listener, dialled: Dialled) -> FilterChain | None:
    """The most specific one, criterion by criterion in Envoy's order; the default one where none matches."""
    left = list(listener.filter_chains)
    for step in (_by_port, _by_address, _by_server_name, _by_transport):
        left = step(left, dialled)
    if left:
        return left[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def manager(of: FilterChain) -> HttpConnectionManager | None:
    for each in of.filters:
        if each.name == connection.HCM:
            return HttpConnectionManager.FromString(each.typed_config.value)
    return None


def tcp_proxy(of: FilterChain) -> TcpProxy | None:
    for each in of.filters:
        if each.typed_config.Is(TcpProxy.DESCRIPTOR):
            return TcpProxy.FromString(each.typed_config.value)
    return None


def access(of: FilterChain) -> Iterable[RBAC]:
    for each in of.filters:
        if each.typed_config.Is(RBAC.DESCRIPTOR):
            yield RBAC.FromString(each.typed_config.value)


def terminated(of: FilterChain) -> DownstreamTlsContext | None:
    """How TLS is ended; None where it is not."""
    packed = of.transport_socket.typed_config
    return (
        DownstreamTlsContext.FromString(packed.value) if packed.Is(DownstreamTlsContext.DESCRIPTOR) else None
    )


def _by_port(chains: list[FilterChain], dialled: Dialled) -> list[FilterChain]:
    def port(match: FilterChainMatch) -> int:
        return match.destination_port.value

    exact = [each for each in chains if port(each.filter_chain_match) == dialled.port]
    return exact or [each for each in chains if not port(each.filter_chain_match)]


def _by_address(chains: list[FilterChain], dialled: Dialled) -> list[FilterChain]:
    def longest(match: FilterChainMatch) -> int:
        fits = (each.prefix_len.value for each in match.prefix_ranges if _within(each, dialled.address))
        return max(fits, default=-1) if match.prefix_ranges else 0

    ranked = [(longest(each.filter_chain_match), each) for each in chains]
    best = max((rank for rank, _ in ranked), default=-1)
    return [each for rank, each in ranked if rank == best >= 0]


def _by_server_name(chains: list[FilterChain], dialled: Dialled) -> list[FilterChain]:
    def rank(match: FilterChainMatch) -> int:
        if not match.server_names:
            return 0
        name = dialled.server_name.lower()
        fits = (len(each) for each in match.server_names if _names(each, name))
        exact = name in match.server_names
        return 1000 if exact else max(fits, default=-1)

    ranked = [(rank(each.filter_chain_match), each) for each in chains]
    best = max((one for one, _ in ranked), default=-1)
    return [each for one, each in ranked if one == best >= 0]


def _names(pattern: str, name: str) -> bool:
    return pattern.startswith("*.") and name.endswith(pattern[1:])


def _by_transport(chains: list[FilterChain], dialled: Dialled) -> list[FilterChain]:
    spoken = TLS if dialled.tls else PLAIN
    exact = [each for each in chains if each.filter_chain_match.transport_protocol == spoken]
    return exact or [each for each in chains if not each.filter_chain_match.transport_protocol]


def _within(block: CidrRange, address: str) -> bool:
    try:
        network = ipaddress.ip_network(f"{block.address_prefix}/{block.prefix_len.value}", strict=False)
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False
