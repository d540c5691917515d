"""What takes calls without mesh TLS beside those with it."""

from __future__ import annotations

import pytest

from envoy import connection, listeners, names
from envoy.seams import ListenerSeams, Parts, serialised
from mesh.views import inbound_view
from mesh.workload import WorkloadPort
from pb.envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from pb.envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from tests.support.builders import a_port, a_service, a_state, a_workload

PLAIN = Parts(plaintext=True)
SHARED = (WorkloadPort("http", 9001, 15101), WorkloadPort("admin", 9002, 15101))


def inbound(
    protocol: str = "http", *parts: tuple[str, Parts], ports: tuple[WorkloadPort, ...] | None = None
) -> Listener:
    """The first listener of a workload that serves ports 80 and, with `ports`, 8080."""
    served = [a_port("http", 80, protocol), *([a_port("admin", 8080, protocol)] if ports else ())]
    workload = a_workload("api-1", meshed=True, ports=ports or (WorkloadPort("http", 9001, 15101),))
    state = a_state(workload, a_service("api", *served))
    return next(listeners.inbound(inbound_view(state, workload), ListenerSeams(inbound=parts)))


def manager(chain: FilterChain) -> HttpConnectionManager:
    (only,) = (each for each in chain.filters if each.name == connection.HCM)
    return HttpConnectionManager.FromString(only.typed_config.value)


def proxy(chain: FilterChain) -> TcpProxy:
    return TcpProxy.FromString(chain.filters[-1].typed_config.value)


def test_a_strict_port_takes_nothing_else() -> None:
    assert [each.name for each in inbound().filter_chains] == ["default/api:80"]


def test_plaintext_of_http_is_believed_nothing() -> None:
    mesh, plain = inbound("http", ("default/api:80", PLAIN)).filter_chains
    assert plain.name == "default/api:80/plaintext"
    assert plain.filter_chain_match.transport_protocol == "raw_buffer"
    assert not plain.HasField("transport_socket")
    made = manager(plain)
    assert made.forward_client_cert_details == HttpConnectionManager.SANITIZE
    assert made.use_remote_address.value
    assert made.HasField("internal_address_config")
    assert made.rds == manager(mesh).rds
    assert made.stat_prefix == f"{manager(mesh).stat_prefix}/plaintext"


def test_the_chain_of_mesh_tls_is_the_same_whether_plaintext_is_taken_or_not() -> None:
    """So that its connections live on."""
    strict, permissive = inbound("http"), inbound("http", ("default/api:80", PLAIN))
    assert strict.filter_chains[0] == permissive.filter_chains[0]
    del permissive.filter_chains[1:]
    assert strict == permissive


def test_tcp_is_taken_in_plaintext_and_in_the_applications_own_tls() -> None:
    strict, made = inbound("tcp"), inbound("tcp", ("default/api:80", PLAIN))
    _, plain, own = made.filter_chains
    assert [each.filter_chain_match.transport_protocol for each in (plain, own)] == ["raw_buffer", "tls"]
    assert not own.HasField("transport_socket")
    assert not own.filter_chain_match.server_names
    logs = [
        TcpGrpcAccessLogConfig.FromString(each.access_log[-1].typed_config.value).common_config.log_name
        for each in (proxy(plain), proxy(own))
    ]
    assert logs == [names.PLAINTEXT_LOG, names.OWN_TLS_LOG]
    assert made.continue_on_listener_filters_timeout, "a server may speak first"
    del made.filter_chains[1:]
    assert strict == made


def test_requests_are_reported_to_the_control_plane_when_they_begin() -> None:
    made = manager(inbound("http", ("default/api:80", PLAIN)).filter_chains[1])
    _, report = made.access_log  # the other one waits to be switched on: see test_reported
    assert made.access_log_options.flush_access_log_on_new_request
    assert list(report.filter.log_type_filter.types) == [
        AccessLogType.DownstreamStart,
        AccessLogType.DownstreamPeriodic,
    ]
    config = HttpGrpcAccessLogConfig.FromString(report.typed_config.value).common_config
    assert config.grpc_service.envoy_grpc.cluster_name == names.CONTROL_PLANE


@pytest.mark.parametrize("filtered", [False, True])
def test_what_policies_log_is_logged_once_all_the_same(filtered: bool) -> None:
    said = HttpConnectionManager(access_log=[AccessLog(name="theirs")])
    if filtered:
        said.access_log[0].filter.not_health_check_filter.SetInParent()
    parts = Parts(manager=serialised(said), plaintext=True)
    mesh, plain = inbound("http", ("default/api:80", parts)).filter_chains
    assert manager(mesh).access_log[0] == said.access_log[0]
    theirs, *_ = manager(plain).access_log
    only = theirs.filter.and_filter.filters[1] if filtered else theirs.filter
    assert list(only.log_type_filter.types) == [AccessLogType.DownstreamEnd]


def test_several_applications_behind_one_port_cannot_be_told_apart() -> None:
    both = (("default/api:80", PLAIN), ("default/api:8080", PLAIN))
    assert len(inbound("http", *both, ports=SHARED).filter_chains) == 2


def test_what_shares_a_port_with_a_strict_one_is_strict() -> None:
    same = (WorkloadPort("http", 9001, 15101), WorkloadPort("admin", 9001, 15101))
    one, both = ("default/api:80", PLAIN), ("default/api:8080", PLAIN)
    assert len(inbound("http", one, ports=same).filter_chains) == 2
    assert len(inbound("http", one, both, ports=same).filter_chains) == 3
