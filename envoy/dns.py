"""Names: queries by UDP are answered by Envoy's DNS filter, with the virtual addresses of services; other names are asked of the
servers that the host's resolv.conf names.

It answers A, AAAA and SRV; for other types of record it says that they are not implemented.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/udp_filters/dns_filter
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy import names
from envoy.packing import listen_on, pack
from mesh.virtual import VirtualView
from pb.envoy.config.core.v3.address_pb2 import SocketAddress
from pb.envoy.config.core.v3.base_pb2 import TrafficDirection
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.data.dns.v3.dns_table_pb2 import DnsTable
from pb.envoy.extensions.filters.udp.dns_filter.v3.dns_filter_pb2 import DnsFilterConfig
from pb.envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2 import CaresDnsResolverConfig

DNS_FILTER = "envoy.filters.udp.dns_filter"
CARES = "envoy.network.dns_resolver.cares"
LOOPBACK, LOOPBACK_IPV6 = "127.0.0.1", "::1"
TTL = 30
"""Seconds that an answer may be kept: the least that Envoy takes. An address moves only when its service's document says so."""
PENDING = 1024
"""Other names that are asked for at once."""
TIMEOUT = 5
"""Seconds for each of them."""


def entry(view: VirtualView) -> DnsTable:
    """The names of one service. The table of several is the sum of their bytes."""
    table = DnsTable()
    for name in view.names:
        domain = table.virtual_domains.add()
        domain.name = name
        domain.endpoint.address_list.address.append(view.address)
        domain.answer_ttl.seconds = TTL
    return table


def listener(port: int, entries: Iterable[bytes], *, ipv6: bool) -> Listener:
    """The listener for queries, which knows all `entries`. Of what is not checked again here, each was when it was made."""
    made = Listener(name=names.DNS, traffic_direction=TrafficDirection.OUTBOUND)
    listen_on(made.address, LOOPBACK, port)
    made.address.socket_address.protocol = SocketAddress.UDP
    if ipv6:
        other = made.additional_addresses.add().address
        listen_on(other, LOOPBACK_IPV6, port)
        other.socket_address.protocol = SocketAddress.UDP
        made.freebind.value = True
    config = DnsFilterConfig(stat_prefix=names.DNS)
    config.server_config.inline_dns_table.MergeFromString(b"".join(entries))
    client = config.client_config
    client.max_pending_lookups = PENDING
    client.resolver_timeout.seconds = TIMEOUT
    cares = CaresDnsResolverConfig()
    # The application's own resolver has gone through the search domains already.
    cares.dns_resolver_options.no_default_search_domain = True
    client.typed_dns_resolver_config.name = CARES
    pack(client.typed_dns_resolver_config.typed_config, cares)
    added = made.listener_filters.add()
    added.name = DNS_FILTER
    pack(added.typed_config, config)
    return made
