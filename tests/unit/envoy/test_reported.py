"""Access logs that a proxy sends while it is watched: they stand everywhere, and say nothing until its runtime switches them on."""

from __future__ import annotations

import pytest

from envoy import connection, names
from envoy.reported import runtime
from envoy.seams import NOTHING
from pb.envoy.extensions.access_loggers.grpc.v3.als_pb2 import HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)


@pytest.mark.parametrize(
    ("made", "log"),
    [
        (connection.by_host_name(NOTHING, ()), names.CALLS_LOG),
        (connection.to_route("a", "b", NOTHING, ()), names.CALLS_LOG),
        (connection.at_edge("a", "b", NOTHING, (), sni=None), names.CALLS_LOG),
        (connection.to_application("a", "b", NOTHING, ()), names.SERVED_LOG),
    ],
)
def test_requests(made: HttpConnectionManager, log: str) -> None:
    (report,) = made.access_log
    config = HttpGrpcAccessLogConfig.FromString(report.typed_config.value).common_config
    assert config.log_name == log
    assert config.grpc_service.envoy_grpc.cluster_name == names.CONTROL_PLANE
    assert report.filter.runtime_filter.runtime_key == names.WATCHED
    assert not report.filter.runtime_filter.percent_sampled.numerator, "off, where nobody says otherwise"


def test_connections() -> None:
    (report,) = connection.tcp_to("a", ("b", 1)).access_log
    config = TcpGrpcAccessLogConfig.FromString(report.typed_config.value).common_config
    assert config.log_name == names.CALLS_LOG
    assert report.filter.runtime_filter.runtime_key == names.WATCHED


def test_grpc_clients_that_speak_xds_themselves_have_none() -> None:
    assert not connection.api_listener("route").access_log


def test_the_runtime_says_whether_a_proxy_is_watched() -> None:
    assert [runtime(watching=each).layer[names.WATCHED] for each in (True, False)] == [100, 0]
    assert runtime(watching=True).name == names.RUNTIME
