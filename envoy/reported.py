"""Access logs that proxies send to the control plane, on the connection that they proved themselves on.

Those of `WATCHED` stand in whatever handles a connection, and say nothing until the proxy's runtime switches them on: a resource of its
own (RTDS), so that a proxy is watched, and watched no longer, without a listener that changes, and drains no connection.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/operations/runtime#runtime-discovery-service-rtds
"""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from envoy import names
from envoy.packing import pack
from pb.envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from pb.envoy.config.core.v3.config_source_pb2 import ApiVersion
from pb.envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.service.runtime.v3.rtds_pb2 import Runtime

GRPC_STATUS = "grpc-status"
Handler = HttpConnectionManager | TcpProxy


def reported(handler: Handler, log: str, *headers: str) -> AccessLog:
    """A further access log of `handler`, which goes to the control plane by the name of `log`; its filter is the caller's business.
    `headers`: of the answers and their trailers, what is told.
    """
    added = handler.access_log.add()
    if isinstance(handler, HttpConnectionManager):
        http = HttpGrpcAccessLogConfig()
        http.additional_response_headers_to_log.extend(headers)
        http.additional_response_trailers_to_log.extend(headers)
        _to_control_plane(http.common_config, log)
        _typed(added, "envoy.access_loggers.http_grpc", http)
    else:
        tcp = TcpGrpcAccessLogConfig()
        _to_control_plane(tcp.common_config, log)
        _typed(added, "envoy.access_loggers.tcp_grpc", tcp)
    return added


def watched(handler: Handler, log: str) -> None:
    """What `handler` handles is reported while the proxy is watched; of gRPC with its status, which is not that of HTTP."""
    switch = reported(handler, log, GRPC_STATUS).filter.runtime_filter
    switch.runtime_key = names.WATCHED
    switch.use_independent_randomness = True  # of no request id: every one is taken, or none


def runtime(*, watching: bool) -> Runtime:
    """What a proxy's runtime says beside its bootstrap: whether it is watched."""
    made = Runtime(name=names.RUNTIME)
    made.layer[names.WATCHED] = 100 if watching else 0
    return made


def _typed(log: AccessLog, name: str, config: Message) -> None:
    log.name = name
    target: Any = log.typed_config
    pack(target, config)


def _to_control_plane(config: CommonGrpcAccessLogConfig, log: str) -> None:
    """What it cannot take is dropped, and delays nothing."""
    config.log_name = log
    config.transport_api_version = ApiVersion.V3
    config.grpc_service.envoy_grpc.cluster_name = names.CONTROL_PLANE
    config.buffer_flush_interval.seconds = 1
