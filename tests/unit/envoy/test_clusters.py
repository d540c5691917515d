from __future__ import annotations

from dataclasses import replace

import pytest

from envoy import clusters, tls
from envoy.bootstrap import DRAIN_TIME
from envoy.errors import EmptyIdentities
from mesh.service import Protocol
from mesh.views import ServiceView, service_view
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from pb.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from tests.support.builders import a_key, a_port, a_service, a_state


def view(protocol: str = "http", *accounts: str) -> ServiceView:
    service = a_service("shop/api", a_port("main", 8080, protocol), service_accounts=accounts)
    return service_view(a_state(service), a_key("shop/api"))


def cluster_of(seen: ServiceView) -> Cluster:
    return clusters.outbound(seen, seen.ports[0])


def tls_of(cluster: Cluster) -> UpstreamTlsContext:
    return UpstreamTlsContext.FromString(
        cluster.transport_socket_matches[0].transport_socket.typed_config.value
    )


def options_of(cluster: Cluster) -> HttpProtocolOptions:
    return HttpProtocolOptions.FromString(
        cluster.typed_extension_protocol_options[clusters.HTTP_OPTIONS].value
    )


def test_an_idle_connection_is_given_up_before_the_other_end_has_drained_it() -> None:
    given_up = options_of(cluster_of(view())).common_http_protocol_options.idle_timeout
    assert 0 < given_up.seconds < DRAIN_TIME


def test_endpoints_with_a_sidecar_get_mesh_tls_and_all_others_plain_tcp() -> None:
    meshed, plain = cluster_of(view()).transport_socket_matches
    assert dict(meshed.match) == {"mtls": True}
    assert meshed.transport_socket.name == tls.TLS
    assert dict(plain.match) == {}
    assert plain.transport_socket.name == tls.RAW


def test_the_callee_is_named_by_its_sni_and_must_be_one_of_its_identities_exactly() -> None:
    context = tls_of(cluster_of(view("http", "api", "api-v2")))
    assert context.sni == "8080.api.shop.mesh.test"
    checks = context.common_tls_context.combined_validation_context.default_validation_context
    exact = [each.matcher.exact for each in checks.match_typed_subject_alt_names]
    assert exact == ["spiffe://mesh.test/ns/shop/sa/api", "spiffe://mesh.test/ns/shop/sa/api-v2"]


def test_a_service_without_identities_is_an_error_for_an_empty_list_would_accept_anyone() -> None:
    seen = replace(view(), identities=())
    with pytest.raises(EmptyIdentities, match=r"8080\.api\.shop\.mesh\.test"):
        cluster_of(seen)


@pytest.mark.parametrize(
    ("protocol", "alpn", "spoken"),
    [
        ("http", ["http/1.1"], "http_protocol_options"),
        ("http2", ["h2"], "http2_protocol_options"),
        ("grpc", ["h2"], "http2_protocol_options"),
    ],
)
def test_the_declared_protocol_is_spoken(protocol: str, alpn: list[str], spoken: str) -> None:
    cluster = cluster_of(view(protocol))
    assert list(tls_of(cluster).common_tls_context.alpn_protocols) == alpn
    assert options_of(cluster).explicit_http_config.WhichOneof("protocol_config") == spoken


@pytest.mark.parametrize("protocol", ["tcp", "tls"])
def test_tcp_has_neither_alpn_nor_http_options(protocol: str) -> None:
    cluster = cluster_of(view(protocol))
    assert not tls_of(cluster).common_tls_context.alpn_protocols
    assert not cluster.typed_extension_protocol_options


def test_pooled_connections_have_a_maximum_age() -> None:
    age = options_of(cluster_of(view())).common_http_protocol_options.max_connection_duration
    assert age.ToTimedelta().total_seconds() == clusters.MAX_CONNECTION_AGE


def test_a_thousand_requests_at_once_are_no_reason_for_a_503() -> None:
    for limits in cluster_of(view()).circuit_breakers.thresholds:
        assert limits.max_requests.value == limits.max_retries.value == clusters.UNLIMITED


def test_grpc_clients_get_what_they_take() -> None:
    seen = view("grpc")
    cluster = clusters.proxyless(seen, seen.ports[0])
    assert not cluster.transport_socket_matches
    assert cluster.lb_policy == Cluster.ROUND_ROBIN
    assert cluster.eds_cluster_config.eds_config.HasField("ads")


def test_the_application_is_on_the_sidecars_own_loopback() -> None:
    cluster = clusters.inbound(9001, Protocol.HTTP)
    address = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (cluster.name, address.address, address.port_value) == ("inbound/9001/http", "127.0.0.1", 9001)
