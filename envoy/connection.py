"""What handles a connection: the HTTP connection manager and the TCP proxy, as this mesh sets them.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
"""

from __future__ import annotations

from google.protobuf.message import Message

from envoy import names
from envoy.packing import from_ads, pack
from envoy.reported import watched
from envoy.seams import NOTHING, HttpFilter, Parts, add_filters
from pb.envoy.config.accesslog.v3.accesslog_pb2 import ComparisonFilter
from pb.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from pb.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    LocalReplyConfig,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)

HCM = "envoy.filters.network.http_connection_manager"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
EARLY_HEADERS = "envoy.http.early_header_mutation.header_mutation"
ORIGINAL_PATH = "x-envoy-original-path"
"""In which Envoy keeps the path of a request that a route rewrites. Logs, and the tag `http.url` of spans, say it in place of the path."""
ROUTER = "envoy.filters.http.router"
NO_ROUTE = (
    "no route: no service of that name (in lower case) that this workload uses; see `uses` of its document\n"
)
NO_EDGE_ROUTE = "no route of this gateway for %REQ(:AUTHORITY)%\n"
MAX_HEADERS, MAX_HEADERS_KB = 100, 60
"""Of a request from outside: Envoy's own defaults, which policies may change."""
NO_ENDPOINT = "no healthy endpoint of %REQ(:AUTHORITY)%\n"
OVER_LIMIT = "too many requests: a RateLimit of this service is used up; x-ratelimit-reset says in how many seconds to come again\n"
FAILURES = {"connect-failure": ("UF",), "reset": ("UC", "UR")}
"""What became of the connection to the application, in words of Envoy's retry conditions, by Envoy's response flags."""
CONNECT_ATTEMPTS = 3
"""Endpoints that a TCP connection is tried on: as many as an HTTP request has with its retries."""


def by_host_name(parts: Parts, filters: tuple[HttpFilter, ...]) -> HttpConnectionManager:
    """Outbound HTTP for every service: the host of `:authority`, without the port, chooses the scope."""
    manager = _outbound(names.OUTBOUND, parts)
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
    _finish(manager, parts, filters)
    return manager


def to_route(
    stat_prefix: str, route: str, parts: Parts, filters: tuple[HttpFilter, ...]
) -> HttpConnectionManager:
    """Outbound HTTP by one route configuration."""
    manager = _outbound(stat_prefix, parts)
    manager.rds.route_config_name = route
    from_ads(manager.rds.config_source)
    _local_reply(manager.local_reply_config, ("UH", "NC"), NO_ENDPOINT)
    _finish(manager, parts, filters)
    return manager


def to_application(
    stat_prefix: str, route: str, parts: Parts, filters: tuple[HttpFilter, ...], *, proved: bool = True
) -> HttpConnectionManager:
    """Inbound HTTP. The application sees who called in `x-forwarded-client-cert`, which no caller can forge. Callers that have not
    `proved` who they are are nobody: what they say of themselves, and to Envoy, is not believed.

    The routes are a resource of their own: a policy that changes one drains no connection, as a changed listener would.
    """
    manager = _manager(stat_prefix, parts)
    if proved:
        manager.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    else:
        manager.forward_client_cert_details = HttpConnectionManager.SANITIZE
        manager.use_remote_address.value = True
        # Nobody is internal by an address alone: Envoy would believe `x-envoy-*` headers of private ranges.
        manager.internal_address_config.SetInParent()
        manager.preserve_external_request_id = True  # a trace goes on
    manager.rds.route_config_name = route
    from_ads(manager.rds.config_source)
    _over_limit(manager.local_reply_config)
    for failure, flags in FAILURES.items():
        _failure(manager.local_reply_config, flags, failure)
    watched(manager, names.SERVED_LOG)
    _finish(manager, parts, filters)
    return manager


def at_edge(
    stat_prefix: str,
    route: str,
    parts: Parts,
    filters: tuple[HttpFilter, ...],
    *,
    sni: str | None,
    verified: bool = True,
) -> HttpConnectionManager:
    """HTTP from outside the mesh, by one route configuration: what clients say of themselves is not believed, and nothing that they do
    may hold memory for ever.

    `sni`: the server name of the listener that ends TLS; None: it takes none. `verified`: a certificate that a client shows is one that
    was asked for; of any other nothing is said to applications.

    https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/best_practices/edge
    """
    silent = not HttpConnectionManager.FromString(parts.manager).HasField("stream_idle_timeout")
    manager = _manager(stat_prefix, parts)
    manager.rds.route_config_name = route
    from_ads(manager.rds.config_source)
    manager.use_remote_address.value = True
    # Nobody is internal by an address alone: Envoy would believe `x-envoy-*` headers of private ranges.
    manager.internal_address_config.SetInParent()
    told = sni is not None and verified
    manager.forward_client_cert_details = (
        HttpConnectionManager.SANITIZE_SET if told else HttpConnectionManager.SANITIZE
    )
    if sni is not None:
        _marked(manager, sni)
    if told:
        manager.set_current_client_cert_details.uri = True
        manager.set_current_client_cert_details.subject.value = True
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = HttpConnectionManager.UNESCAPE_AND_REDIRECT
    options = manager.common_http_protocol_options
    options.headers_with_underscores_action = HttpProtocolOptions.REJECT_REQUEST
    _at_most(options, "idle_timeout", 3600)
    if not options.HasField("max_headers_count"):
        options.max_headers_count.value = MAX_HEADERS
    if not manager.HasField("max_request_headers_kb"):
        manager.max_request_headers_kb.value = MAX_HEADERS_KB
    http2 = manager.http2_protocol_options
    http2.max_concurrent_streams.value = 100
    http2.initial_stream_window_size.value = 64 * 1024
    http2.initial_connection_window_size.value = 1024 * 1024
    if silent:
        manager.stream_idle_timeout.seconds = 300
    _at_most(manager, "request_timeout", 300)
    _at_most(manager, "request_headers_timeout", 15)
    _local_reply(manager.local_reply_config, ("NR",), NO_EDGE_ROUTE)
    _local_reply(manager.local_reply_config, ("UH", "NC"), NO_ENDPOINT)
    watched(manager, names.CALLS_LOG)
    _finish(manager, parts, filters)
    return manager


def api_listener(route: str) -> HttpConnectionManager:
    """For gRPC clients that speak xDS themselves: they read the route and the filters, nothing else (gRFC A27, A39)."""
    manager = HttpConnectionManager(stat_prefix=route)
    manager.rds.route_config_name = route
    from_ads(manager.rds.config_source)
    _finish(manager, NOTHING, ())
    return manager


def tcp_to(
    stat_prefix: str, *backends: tuple[str, int], parts: Parts = NOTHING, log: str = names.CALLS_LOG
) -> TcpProxy:
    """Bytes to and fro, to one of some clusters by weight. An idle connection stays: only its two ends know what silence means.
    `log`: of which of the logs by which a proxy is watched its connections are.
    """
    proxy = TcpProxy.FromString(parts.tcp)
    proxy.stat_prefix = stat_prefix
    if len(backends) == 1:
        proxy.cluster = backends[0][0]
    else:
        for cluster, weight in backends:
            proxy.weighted_clusters.clusters.add(name=cluster, weight=weight)
    if not proxy.HasField("max_connect_attempts"):
        proxy.max_connect_attempts.value = CONNECT_ATTEMPTS
    if not proxy.HasField("idle_timeout"):
        proxy.idle_timeout.SetInParent()  # zero is none; Envoy's default is an hour
    watched(proxy, log)
    return proxy


def http_chain(chain: FilterChain, manager: HttpConnectionManager, parts: Parts = NOTHING) -> None:
    _first(chain, parts)
    added = chain.filters.add()
    added.name = HCM
    pack(added.typed_config, manager)


def tcp_chain(chain: FilterChain, proxy: TcpProxy, parts: Parts = NOTHING) -> None:
    _first(chain, parts)
    added = chain.filters.add()
    added.name = TCP_PROXY
    pack(added.typed_config, proxy)


def _first(chain: FilterChain, parts: Parts) -> None:
    for each in parts.network_filters:
        chain.filters.add().MergeFromString(each)


def _marked(manager: HttpConnectionManager, sni: str) -> None:
    """Say by which listener each request came in, before its route is chosen. Whatever a client says of it is replaced."""
    mutations = HeaderMutation()
    mutation = mutations.mutations.add().append
    mutation.header.key, mutation.header.value = names.LISTENER, sni
    mutation.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    _early(manager, mutations)


def _without_original_path(manager: HttpConnectionManager) -> None:
    """Whoever sends the header chooses the path that the access log says, also of what a policy refuses by its path."""
    mutations = HeaderMutation()
    mutations.mutations.add().remove = ORIGINAL_PATH
    _early(manager, mutations)


def _early(manager: HttpConnectionManager, mutations: HeaderMutation) -> None:
    pack(manager.early_header_mutation_extensions.add(name=EARLY_HEADERS).typed_config, mutations)


def _outbound(stat_prefix: str, parts: Parts) -> HttpConnectionManager:
    manager = _manager(stat_prefix, parts)
    manager.forward_client_cert_details = HttpConnectionManager.SANITIZE
    watched(manager, names.CALLS_LOG)
    return manager


def _at_most(message: Message, name: str, seconds: int) -> None:
    """A limit where nobody said another. Zero, which is none, is said too."""
    if not message.HasField(name):
        getattr(message, name).seconds = seconds


def _local_reply(config: LocalReplyConfig, flags: tuple[str, ...], text: str) -> None:
    """Answers that Envoy itself gives for one of `flags` have the body `text`, a format of its access log. They are the
    application's only hint: Envoy's own body is empty, or does not say of whom it speaks.
    https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/local_reply
    """
    mapper = config.mappers.add()
    mapper.filter.response_flag_filter.flags.extend(flags)
    mapper.body_format_override.text_format_source.inline_string = text


def _failure(config: LocalReplyConfig, flags: tuple[str, ...], failure: str) -> None:
    mapper = config.mappers.add()
    mapper.filter.response_flag_filter.flags.extend(flags)
    mapper.headers_to_add.add(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD).header.MergeFrom(
        HeaderValue(key=names.FAILURE, value=failure)
    )


def _over_limit(config: LocalReplyConfig) -> None:
    """By status, for the local filter sets its flag only after its answer. Answers of the application are not concerned."""
    mapper = config.mappers.add()
    status = mapper.filter.status_code_filter.comparison
    status.op = ComparisonFilter.EQ
    status.value.default_value = 429
    status.value.runtime_key = "meshwright.over_limit"
    mapper.body_format_override.text_format_source.inline_string = OVER_LIMIT


def _manager(stat_prefix: str, parts: Parts) -> HttpConnectionManager:
    manager = HttpConnectionManager.FromString(parts.manager)
    manager.stat_prefix, manager.codec_type = stat_prefix, HttpConnectionManager.AUTO
    # A sidecar is no edge: addresses and request ids of the client before it are kept, and the server's name is its own.
    manager.use_remote_address.value = False
    manager.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    # Zero is none; Envoy would cut silent streams (gRPC watches, server-sent events) after five minutes.
    if not manager.HasField("stream_idle_timeout"):
        manager.stream_idle_timeout.SetInParent()
    # What a route or a policy matches is what the application will see.
    manager.normalize_path.value = True
    _without_original_path(manager)
    manager.upgrade_configs.add().upgrade_type = "websocket"
    return manager


def _finish(manager: HttpConnectionManager, parts: Parts, filters: tuple[HttpFilter, ...]) -> None:
    """A filter that a policy gives takes the place of the disabled one of its name."""
    own = {each.name for each in parts.http_filters}
    add_filters(manager, (*parts.http_filters, *(each for each in filters if each.name not in own)))
    last = manager.http_filters.add()
    last.name = ROUTER
    pack(last.typed_config, Router())
