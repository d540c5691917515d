"""Clusters: a service's ports as its callers see them, and the application behind a sidecar.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/cluster.proto
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy import external, names, tls
from envoy.packing import from_ads, listen_on, pack
from envoy.seams import NOTHING, Parts
from mesh.names import hostnames, sni
from mesh.service import Protocol, ServicePort
from mesh.views import ServiceView
from pb.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import RoutingPriority
from pb.envoy.config.core.v3.health_check_pb2 import HealthCheck
from pb.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from pb.envoy.type.v3.http_pb2 import CodecClientType

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CONNECT_TIMEOUT = 5
"""Seconds, mesh TLS included: time for two more SYNs (after 1 s and 3 s) before another endpoint is tried."""

MAX_CONNECTION_AGE = 3600
"""Seconds. A pooled connection outlives the certificates and the roots it was made with, so it must not live for ever.
Envoy drains it then: requests on it end normally. HTTP only: a TCP connection is the application's own."""

MAX_IDLE = 30
"""Seconds that a pooled HTTP connection may be idle. Who takes connections closes them at the end of its drain time when the filters of
a port have changed, and tells of it with answers alone: one that nobody uses is told nothing, and a request sent on it at that very moment is
lost. So callers must have given it up before: this is shorter than `envoy.bootstrap.DRAIN_TIME`, and than what servers outside the mesh
usually allow."""

PASSTHROUGH_SOURCE, PASSTHROUGH_SOURCE_IPV6 = "127.0.0.6", "::6"

MAX_SESSIONS = 10_000
"""Clients of a UDP port at once, where no CircuitBreaker says how many."""

UNLIMITED = 2**32 - 1
MTLS = "mtls"
"""The key in an endpoint's metadata `envoy.transport_socket_match` that says that it takes mesh TLS."""


def outbound(view: ServiceView, port: ServicePort, parts: Parts = NOTHING, subset: str = "") -> Cluster:
    """One port of a service, or of a subset of it: mesh TLS to endpoints with a sidecar, plain TCP to those without; or one
    outside the mesh, wherever that is.
    """
    cluster = Cluster.FromString(parts.cluster)
    cluster.name = names.cluster(view.key, port.port, subset)
    if not cluster.HasField("load_balancing_policy"):
        cluster.lb_policy = Cluster.LEAST_REQUEST
        # A proxy knows how its own service is spread, and Envoy would go by zones wherever it is not told otherwise.
        cluster.common_lb_config.zone_aware_lb_config.routing_enabled.SetInParent()
    if not cluster.HasField("connect_timeout"):
        cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    if port.protocol is Protocol.UDP:
        _datagrams(cluster)
        return cluster
    if view.external is None:
        _endpoints_of_mesh(cluster, view, port)
    else:
        external.place(cluster, view, port, _alpn(port.protocol))
    _suitable_check(cluster, view, port.protocol)
    _no_hidden_limits(cluster)
    _keepalive(cluster)
    said = parts.http + external.options(view, port)
    _protocol(cluster, port.protocol, said, max_age=MAX_CONNECTION_AGE)
    return cluster


def direct(
    view: ServiceView, port: ServicePort, account: str, identities: Sequence[str], parts: Parts = NOTHING
) -> Cluster:
    """The endpoints of one port whose service account is `account`, each by its own address: wherever a connection was going.

    Envoy knows no more of such an endpoint than its address, so that mesh TLS is the cluster's: for those with a sidecar only. And
    there is nothing to choose: how to balance load, and whom to leave out, is not taken over from `parts`.
    """
    cluster = Cluster.FromString(parts.cluster)
    for chosen in ("load_balancing_policy", "common_lb_config", "health_checks", "outlier_detection"):
        cluster.ClearField(chosen)
    cluster.name = names.direct_cluster(view.key, port.port, account)
    if not cluster.HasField("connect_timeout"):
        cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    original_destination(cluster, inbound=False)
    tls.upstream(
        cluster.transport_socket,
        sni=sni(view.key, port.port, view.trust_domain),
        identities=identities,
        alpn=_alpn(port.protocol),
    )
    _no_hidden_limits(cluster)
    _keepalive(cluster)
    _protocol(cluster, port.protocol, parts.http, max_age=MAX_CONNECTION_AGE)
    return cluster


def _keepalive(cluster: Cluster) -> None:
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = 60
    keepalive.keepalive_interval.value = 10
    keepalive.keepalive_probes.value = 3


def _datagrams(cluster: Cluster) -> None:
    """Datagrams go as they are to the application: there is no mesh TLS for them, and Envoy has no health check by UDP."""
    cluster.type = Cluster.EDS
    from_ads(cluster.eds_cluster_config.eds_config)
    cluster.ClearField("health_checks")
    # Of sessions, which for the circuit breaker are connections: each client that is made up takes one for a minute.
    if not any(each.HasField("max_connections") for each in cluster.circuit_breakers.thresholds):
        cluster.circuit_breakers.thresholds.add().max_connections.value = MAX_SESSIONS
    _no_hidden_limits(cluster)


def _endpoints_of_mesh(cluster: Cluster, view: ServiceView, port: ServicePort) -> None:
    cluster.type = Cluster.EDS
    from_ads(cluster.eds_cluster_config.eds_config)
    meshed = cluster.transport_socket_matches.add()
    meshed.name = MTLS
    meshed.match[MTLS] = True
    tls.upstream(
        meshed.transport_socket,
        sni=sni(view.key, port.port, view.trust_domain),
        identities=view.identities,
        alpn=_alpn(port.protocol),
    )
    plain = cluster.transport_socket_matches.add()
    plain.name = "plaintext"
    plain.match.SetInParent()  # an empty match takes every other endpoint
    said = dict(view.tls).get(port.port)
    if said is None:
        tls.raw(plain.transport_socket)
    else:
        tls.outside(plain.transport_socket, said, sni=said.sni or "", alpn=_alpn(port.protocol))


def inbound(app_port: int, protocol: Protocol, parts: Parts = NOTHING, *, captured: bool = False) -> Cluster:
    """The application: on the sidecar's own loopback, or where an intercepted connection was going."""
    name = names.inbound_cluster(app_port, protocol, captured=captured)
    cluster = Cluster.FromString(parts.cluster)
    cluster.name = name
    cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    if captured:
        original_destination(cluster, inbound=True)
    else:
        cluster.type = Cluster.STATIC
        cluster.load_assignment.cluster_name = name
        address = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address
        listen_on(address, "127.0.0.1", app_port)
    _no_hidden_limits(cluster)
    _protocol(cluster, protocol, parts.http)
    return cluster


def passthrough() -> Cluster:
    """Where an intercepted connection was going."""
    cluster = Cluster(name=names.PASSTHROUGH)
    cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    original_destination(cluster, inbound=False)
    _no_hidden_limits(cluster)
    return cluster


def by_request(name: str) -> Cluster:
    """Wherever the host of a request resolves to. HTTP/1.1, for that is what every server speaks."""
    cluster = Cluster(name=name)
    cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    external.by_name(cluster)
    _no_hidden_limits(cluster)
    _protocol(cluster, Protocol.HTTP, external.by_request(), max_age=MAX_CONNECTION_AGE)
    return cluster


def checks() -> Cluster:
    """The application that an intercepted health check was going to, in the protocol that the check speaks."""
    cluster = Cluster(name=names.CHECKS)
    cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    original_destination(cluster, inbound=True)
    _no_hidden_limits(cluster)
    options = HttpProtocolOptions()
    options.use_downstream_protocol_config.http_protocol_options.SetInParent()
    options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    pack(cluster.typed_extension_protocol_options[HTTP_OPTIONS], options)
    return cluster


def original_destination(cluster: Cluster, *, inbound: bool) -> None:
    """Make `cluster` lead to where a connection was going before it was intercepted.

    Inbound ones come from addresses by which the rules of `meshwright intercept` know that they are on their last step, and that the
    application's answer is the sidecar's.
    """
    cluster.type, cluster.lb_policy = Cluster.ORIGINAL_DST, Cluster.CLUSTER_PROVIDED
    if inbound:
        source = cluster.upstream_bind_config.source_address
        source.address, source.port_value = PASSTHROUGH_SOURCE, 0
        other = cluster.upstream_bind_config.extra_source_addresses.add().address
        other.address, other.port_value = PASSTHROUGH_SOURCE_IPV6, 0


def proxyless(view: ServiceView, port: ServicePort, subset: str = "") -> Cluster:
    """The same for gRPC clients that speak xDS themselves.

    They refuse `transport_socket_matches` and take ROUND_ROBIN and RING_HASH for granted, no more (gRFC A27, A29, A42).
    """
    cluster = Cluster(name=names.cluster(view.key, port.port, subset), type=Cluster.EDS)
    cluster.lb_policy = Cluster.ROUND_ROBIN
    cluster.connect_timeout.seconds = CONNECT_TIMEOUT
    from_ads(cluster.eds_cluster_config.eds_config)
    return cluster


def _alpn(protocol: Protocol) -> tuple[str, ...]:
    return {"http": ("http/1.1",), "http2": ("h2",), "tcp": ()}[names.spoken(protocol)]


def _suitable_check(cluster: Cluster, view: ServiceView, protocol: Protocol) -> None:
    """Of the health checks that policies give, keep the first that a port of `protocol` can answer; none for names that are only known
    when they are asked for.
    """
    host = hostnames(view.key, "")[0] if view.external is None else view.external.host
    suitable = [HealthCheck.FromString(each.SerializeToString()) for each in cluster.health_checks]
    if protocol is not Protocol.GRPC:
        suitable = [each for each in suitable if not each.HasField("grpc_health_check")]
    if not protocol.is_http:
        suitable = [each for each in suitable if not each.HasField("http_health_check")]
    cluster.ClearField("health_checks")
    for check in suitable[:1] if host else ():
        if check.HasField("grpc_health_check"):
            check.grpc_health_check.authority = host
        elif check.HasField("http_health_check"):
            check.http_health_check.host = check.http_health_check.host or host
            if protocol is not Protocol.HTTP:
                check.http_health_check.codec_client_type = CodecClientType.HTTP2
        cluster.health_checks.append(check)


def _no_hidden_limits(cluster: Cluster) -> None:
    """Envoy's defaults answer 503 beyond 1,024 requests at once, and retry 3 at once: limits are for policies to set.

    Several policies may have spoken of one priority; Envoy would take the first and leave the others.
    """
    said = {
        priority: CircuitBreakers.Thresholds(priority=priority)
        for priority in (RoutingPriority.DEFAULT, RoutingPriority.HIGH)
    }
    for each in cluster.circuit_breakers.thresholds:
        said[each.priority].MergeFrom(each)
    cluster.circuit_breakers.ClearField("thresholds")
    for limits in said.values():
        _unlimited(limits)
        cluster.circuit_breakers.thresholds.append(limits)


def _unlimited(limits: CircuitBreakers.Thresholds) -> None:
    """Whatever is not said."""
    for name in ("max_connections", "max_pending_requests", "max_requests"):
        if not limits.HasField(name):
            getattr(limits, name).value = UNLIMITED
    if not limits.HasField("max_retries") and not limits.HasField("retry_budget"):
        limits.max_retries.value = UNLIMITED


def _protocol(cluster: Cluster, protocol: Protocol, said: bytes, max_age: int | None = None) -> None:
    if not protocol.is_http:
        return
    options = HttpProtocolOptions.FromString(said)
    common = options.common_http_protocol_options
    if max_age is not None and not common.HasField("max_connection_duration"):
        common.max_connection_duration.seconds = max_age
    if max_age is not None and not common.HasField("idle_timeout"):
        common.idle_timeout.seconds = MAX_IDLE
    if protocol is Protocol.HTTP:
        options.explicit_http_config.http_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    pack(cluster.typed_extension_protocol_options[HTTP_OPTIONS], options)
