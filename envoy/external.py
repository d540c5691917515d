"""Where services outside the mesh are: clusters that are resolved, given, or found by the name that a request asks for.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/service_discovery
https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/http/http_proxy (names that a request asks for)
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy import tls
from envoy.packing import listen_on, pack
from envoy.seams import serialised
from mesh.external import External, Origination, Resolution
from mesh.names import sni
from mesh.service import Protocol, ServicePort
from mesh.views import ServiceView
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from pb.envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from pb.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

BY_NAME = "envoy.clusters.dynamic_forward_proxy"
MAX_NAMES = 4096
"""Names that a sidecar remembers the addresses of; more at a time are answered with 503. Envoy's own limit is 1,024."""


def place(cluster: Cluster, view: ServiceView, port: ServicePort, alpn: Sequence[str]) -> None:
    """Say where `port` is, and which TLS is spoken to it. An application's own TLS is passed on untouched."""
    external, said = view.external, _origination(view, port)
    if external is None:
        return
    if external.wildcard:
        by_name(cluster, verified=_by_request(said))
    else:
        _addresses(cluster, external, external.target(port.port))
    if said is None or port.protocol is Protocol.TLS:
        return
    if said.mesh is not None:
        there = said.mesh
        server_name = sni(there.service, port.port, there.trust_domain)
        tls.upstream(cluster.transport_socket, sni=server_name, identities=there.identities, alpn=alpn)
    else:
        tls.outside(cluster.transport_socket, said, sni=said.sni or external.host, alpn=alpn)


def by_name(cluster: Cluster, *, verified: bool = True) -> None:
    """Make `cluster` one whose endpoint is what a request's host resolves to: routes to it need `NAMES`, see `fallback`.

    `verified`: where TLS is spoken, that host must be in the certificate (see `by_request`), else whatever the transport socket says.
    """
    # It balances by itself; what policies say of balancing has no meaning for it.
    cluster.ClearField("load_balancing_policy")
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    cluster.cluster_type.name = BY_NAME
    config = ClusterConfig(dns_cache_config=dns_cache(), allow_insecure_cluster_options=not verified)
    pack(cluster.cluster_type.typed_config, config)


def dns_cache() -> DnsCacheConfig:
    """One for all: caches of one name must be equal."""
    cache = DnsCacheConfig(name="outside", dns_lookup_family=Cluster.V4_PREFERRED)
    cache.max_hosts.value = MAX_NAMES
    return cache


def options(view: ServiceView, port: ServicePort) -> bytes:
    """A part, HttpProtocolOptions."""
    wildcard = view.external is not None and view.external.wildcard
    return by_request() if wildcard and _by_request(_origination(view, port)) else b""


def by_request() -> bytes:
    """A part: over TLS, each connection is for the name that is asked for, and verified as such."""
    made = HttpProtocolOptions()
    made.upstream_http_protocol_options.auto_sni = True
    made.upstream_http_protocol_options.auto_san_validation = True
    return serialised(made)


def _by_request(said: Origination | None) -> bool:
    return said is None or not (said.sni or said.names or said.uris)


def _origination(view: ServiceView, port: ServicePort) -> Origination | None:
    """A BackendTLSPolicy comes before what the service says of itself: it is for one port, or of another."""
    own = view.external.tls if view.external is not None else None
    return dict(view.tls).get(port.port, own)


def _addresses(cluster: Cluster, external: External, port: int) -> None:
    match external.resolution:
        case Resolution.STATIC:
            cluster.type = Cluster.STATIC
        case Resolution.DNS:
            cluster.type = Cluster.STRICT_DNS
        case Resolution.LOGICAL:
            cluster.type = Cluster.LOGICAL_DNS
    if external.resolution is not Resolution.STATIC:
        # The other order, Envoy's default, would prefer addresses that many hosts cannot reach.
        cluster.dns_lookup_family = Cluster.V4_PREFERRED
        cluster.respect_dns_ttl = True
    cluster.load_assignment.cluster_name = cluster.name
    group = cluster.load_assignment.endpoints.add()
    for address in external.addresses:
        listen_on(group.lb_endpoints.add().endpoint.address, address, port)
