"""What handles a connection: the HTTP connection manager and the TCP proxy, as this mesh sets them.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
"""

from __future__ import annotations

from envoy import names
from envoy.packing import from_ads, pack
from envoy.seams import HttpFilter, add_filters
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    LocalReplyConfig,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

HCM = "envoy.filters.network.http_connection_manager"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
ROUTER = "envoy.filters.http.router"
NO_ROUTE = (
    "no route: no service of that name (in lower case) that this workload uses; see `uses` of its document\n"
)
NO_ENDPOINT = "no healthy endpoint of %REQ(:AUTHORITY)%\n"
CONNECT_ATTEMPTS = 3
"""Endpoints that a TCP connection is tried on: as many as an HTTP request has with its retries."""


def by_host_name(filters: tuple[HttpFilter, ...]) -> HttpConnectionManager:
    """Outbound HTTP for every service: the host of `:authority`, without the port, chooses the scope."""
    manager = _outbound(names.OUTBOUND)
    scoped = manager.scoped_routes
    scoped.name = names.OUTBOUND
    extractor = scoped.scope_key_builder.fragments.add().header_value_extractor
    extractor.name = ":authority"
    extractor.element_separator = ":"
    extractor.index = 0
    from_ads(scoped.rds_config_source)
    from_ads(scoped.scoped_rds.scoped_rds_config_source)
    _local_reply(manager.local_reply_config, ("NR",), NO_ROUTE)
    _local_reply(manager.local_reply_config, ("UH", "NC"), NO_ENDPOINT)
    _finish(manager, filters)
    return manager


def to_route(stat_prefix: str, route: str, filters: tuple[HttpFilter, ...]) -> HttpConnectionManager:
    """Outbound HTTP by one route configuration."""
    manager = _outbound(stat_prefix)
    manager.rds.route_config_name = route
    from_ads(manager.rds.config_source)
    _local_reply(manager.local_reply_config, ("UH", "NC"), NO_ENDPOINT)
    _finish(manager, filters)
    return manager


def to_application(
    stat_prefix: str, routes: RouteConfiguration, filters: tuple[HttpFilter, ...]
) -> HttpConnectionManager:
    """Inbound HTTP. The application sees who called in `x-forwarded-client-cert`, which no caller can forge."""
    manager = _manager(stat_prefix)
    manager.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
    manager.set_current_client_cert_details.uri = True
    manager.route_config.CopyFrom(routes)
    _finish(manager, filters)
    return manager


def api_listener(route: str) -> HttpConnectionManager:
    """For gRPC clients that speak xDS themselves: they read the route and the filters, nothing else (gRFC A27, A39)."""
    manager = HttpConnectionManager(stat_prefix=route)
    manager.rds.route_config_name = route
    from_ads(manager.rds.config_source)
    _finish(manager, ())
    return manager


def tcp_to(stat_prefix: str, cluster: str) -> TcpProxy:
    """Bytes to and fro. An idle connection stays: only its two ends know what silence means."""
    proxy = TcpProxy(stat_prefix=stat_prefix, cluster=cluster)
    proxy.max_connect_attempts.value = CONNECT_ATTEMPTS
    proxy.idle_timeout.SetInParent()  # zero is none; Envoy's default is an hour
    return proxy


def http_chain(chain: FilterChain, manager: HttpConnectionManager) -> None:
    added = chain.filters.add()
    added.name = HCM
    pack(added.typed_config, manager)


def tcp_chain(chain: FilterChain, proxy: TcpProxy) -> None:
    added = chain.filters.add()
    added.name = TCP_PROXY
    pack(added.typed_config, proxy)


def _outbound(stat_prefix: str) -> HttpConnectionManager:
    manager = _manager(stat_prefix)
    manager.forward_client_cert_details = HttpConnectionManager.SANITIZE
    return manager


def _local_reply(config: LocalReplyConfig, flags: tuple[str, ...], text: str) -> None:
    """Answers that Envoy itself gives for one of `flags` have the body `text`, a format of its access log. They are the
    application's only hint: Envoy's own body is empty, or does not say of whom it speaks.
    https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/local_reply
    """
    mapper = config.mappers.add()
    mapper.filter.response_flag_filter.flags.extend(flags)
    mapper.body_format_override.text_format_source.inline_string = text


def _manager(stat_prefix: str) -> HttpConnectionManager:
    manager = HttpConnectionManager(stat_prefix=stat_prefix, codec_type=HttpConnectionManager.AUTO)
    # A sidecar is no edge: addresses and request ids of the client before it are kept, and the server's name is its own.
    manager.use_remote_address.value = False
    manager.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    # Zero is none; Envoy would cut silent streams (gRPC watches, server-sent events) after five minutes.
    manager.stream_idle_timeout.SetInParent()
    # What a route or a policy matches is what the application will see.
    manager.normalize_path.value = True
    manager.upgrade_configs.add().upgrade_type = "websocket"
    return manager


def _finish(manager: HttpConnectionManager, filters: tuple[HttpFilter, ...]) -> None:
    add_filters(manager, filters)
    last = manager.http_filters.add()
    last.name = ROUTER
    pack(last.typed_config, Router())
