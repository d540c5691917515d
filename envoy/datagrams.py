"""UDP: listeners that pass datagrams on, all that a client sends from one of its ports to one backend.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/udp_filters/udp_proxy

Envoy has no weighted clusters for UDP. It chooses by a matcher, for each datagram, so what is matched must be the same for all of a
session: a hash of the client's port is, and ports are spread evenly over clients.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.packing import listen_on, pack
from envoy.shares import Share
from pb.envoy.config.core.v3.address_pb2 import SocketAddress
from pb.envoy.config.core.v3.base_pb2 import TrafficDirection
from pb.envoy.config.core.v3.udp_socket_config_pb2 import UdpSocketConfig
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.extensions.filters.udp.udp_proxy.v3.route_pb2 import Route
from pb.envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from pb.envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import SourcePortInput
from pb.envoy.extensions.matching.input_matchers.runtime_fraction.v3.runtime_fraction_pb2 import (
    RuntimeFraction,
)
from pb.envoy.type.v3.percent_pb2 import FractionalPercent
from pb.xds.type.matcher.v3.matcher_pb2 import Matcher

UDP_PROXY = "envoy.filters.udp_listener.udp_proxy"
IDLE = 60
"""Seconds without a datagram, either way, after which a session ends and its backend may be another."""
LARGEST = 65535
"""Bytes of a datagram: what is larger than this setting is dropped, and Envoy's own is 1,500."""
PARTS = 1_000_000
"""Of which each share is a number."""
NO_KEY = "meshwright.udp.share"
"""Envoy asks its runtime for a key. Nobody sets this one."""


def listener(
    name: str, binds: Sequence[str], port: int, direction: TrafficDirection.ValueType, to: Sequence[Share]
) -> Listener:
    """`to`: never none; what is sent to a cluster that is not there is dropped."""
    made = Listener(name=name, traffic_direction=direction)
    first, *others = binds
    for address, bind in (
        (made.address, first),
        *((made.additional_addresses.add().address, each) for each in others),
    ):
        listen_on(address, bind, port)
        address.socket_address.protocol = SocketAddress.UDP
    _large(made.udp_listener_config.downstream_socket_config)
    config = UdpProxyConfig(stat_prefix=name)
    config.idle_timeout.seconds = IDLE
    _large(config.upstream_socket_config)
    _choose(config.matcher, to)
    added = made.listener_filters.add()
    added.name = UDP_PROXY
    pack(added.typed_config, config)
    return made


def _choose(matcher: Matcher, to: Sequence[Share]) -> None:
    """The first whose part of the whole the hash of the client's port is in; all parts are counted from the same zero."""
    whole, sum_so_far = sum(weight for _, weight in to), 0
    *firsts, (last, _) = to
    for cluster, weight in firsts:
        sum_so_far += weight
        each = matcher.matcher_list.matchers.add()
        asked = each.predicate.single_predicate
        asked.input.name = "port"
        pack(asked.input.typed_config, SourcePortInput())
        fraction = RuntimeFraction()
        fraction.runtime_fraction.runtime_key = NO_KEY
        fraction.runtime_fraction.default_value.numerator = sum_so_far * PARTS // whole
        fraction.runtime_fraction.default_value.denominator = FractionalPercent.MILLION
        asked.custom_match.name = "share"
        pack(asked.custom_match.typed_config, fraction)
        _lead(each.on_match, cluster)
    _lead(matcher.on_no_match, last)


def _lead(action: Matcher.OnMatch, cluster: str) -> None:
    action.action.name = "route"
    pack(action.action.typed_config, Route(cluster=cluster))


def _large(config: UdpSocketConfig) -> None:
    config.max_rx_datagram_size.value = LARGEST
    config.prefer_gro.value = False
