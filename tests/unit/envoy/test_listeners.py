from __future__ import annotations

from envoy import connection, listeners
from envoy.seams import NO_LISTENER_POLICIES
from mesh.service import Service
from mesh.views import inbound_view, outbound_listeners_view, service_view
from mesh.workload import Use, Workload, WorkloadPort
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from tests.support.builders import TRUST_DOMAIN, a_key, a_port, a_proxy, a_service, a_state, a_workload


def outbound(workload: Workload, *values: Service) -> dict[str, Listener]:
    state = a_state(workload, *values)
    return {
        each.name: each
        for each in listeners.outbound(outbound_listeners_view(state, workload), NO_LISTENER_POLICIES)
    }


def inbound(workload: Workload, *values: Service) -> list[Listener]:
    state = a_state(workload, *values)
    return list(listeners.inbound(inbound_view(state, workload), NO_LISTENER_POLICIES))


def manager(listener: Listener, chain: int = 0) -> HttpConnectionManager:
    (only,) = listener.filter_chains[chain].filters
    assert only.name == connection.HCM
    return HttpConnectionManager.FromString(only.typed_config.value)


def test_http_by_host_name_has_one_listener_whatever_the_mesh_holds() -> None:
    web = a_workload("web", uses=None, outbound_port=15999)
    made = outbound(web)
    assert made == outbound(web, a_service("api"), a_service("store"))
    (fragment,) = manager(made["outbound"]).scoped_routes.scope_key_builder.fragments
    extractor = fragment.header_value_extractor
    assert (extractor.name, extractor.element_separator, extractor.index) == (":authority", ":", 0)
    assert made["outbound"].address.socket_address.port_value == 15999


def test_explicit_local_ports_lead_to_one_port_each() -> None:
    uses = [Use(a_key("api"), "http", 9001), Use(a_key("db"), None, 9002)]
    made = outbound(
        a_workload("web", uses=uses), a_service("api"), a_service("db", a_port("sql", 5432, "tcp"))
    )
    assert set(made) == {"outbound", "outbound/9001", "outbound/9002"}
    assert manager(made["outbound/9001"]).rds.route_config_name == "default/api:80"
    (proxy,) = made["outbound/9002"].filter_chains[0].filters
    assert TcpProxy.FromString(proxy.typed_config.value).cluster == "default/db:5432"


def test_another_service_behind_a_port_changes_filter_chains_only() -> None:
    services = a_service("api"), a_service("store")
    before = outbound(a_workload("web", uses=[Use(a_key("api"), None, 9001)]), *services)["outbound/9001"]
    after = outbound(a_workload("web", uses=[Use(a_key("store"), None, 9001)]), *services)["outbound/9001"]
    assert before != after
    for each in before, after:
        each.ClearField("filter_chains")
    assert before == after


def test_inbound_takes_mesh_tls_for_what_is_served_and_nothing_else() -> None:
    (made,) = inbound(a_proxy("api-1", sidecar=15101, address="127.0.0.5"), a_service("api"))
    assert made.name == "inbound/15101"
    assert made.address.socket_address.address == "127.0.0.5"
    (chain,) = made.filter_chains
    assert not made.HasField("default_filter_chain")
    assert chain.filter_chain_match.transport_protocol == "tls"
    assert list(chain.filter_chain_match.server_names) == ["80.api.default.mesh.test"]
    context = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    assert context.disable_stateless_session_resumption
    assert context.disable_stateful_session_resumption
    assert context.require_client_certificate.value
    checks = context.common_tls_context.combined_validation_context.default_validation_context
    assert [each.matcher.prefix for each in checks.match_typed_subject_alt_names] == ["spiffe://mesh.test/"]


def test_the_application_is_told_who_called_and_callers_cannot_say_it_themselves() -> None:
    (made,) = inbound(a_proxy("api-1"), a_service("api"))
    assert manager(made).forward_client_cert_details == HttpConnectionManager.SANITIZE_SET
    assert manager(made).set_current_client_cert_details.uri


def test_services_behind_one_sidecar_port_are_told_apart_by_server_name_each_with_its_protocol() -> None:
    ports = [WorkloadPort("http", 9001, 15101), WorkloadPort("raw", 9002, 15101)]
    workload = a_workload("api-1", services=["api", "old"], meshed=True, ports=ports)
    (made,) = inbound(workload, a_service("api"), a_service("old", a_port("raw", 70, "tcp")))
    assert [each.name for each in made.filter_chains] == ["default/api:80", "default/old:70"]
    assert [each.filters[0].name for each in made.filter_chains] == [connection.HCM, connection.TCP_PROXY]


def test_a_workload_without_a_sidecar_takes_nothing() -> None:
    assert inbound(a_workload("api-1", sidecar=15101), a_service("api")) == []


def test_idle_streams_are_nobodys_business() -> None:
    idle = manager(outbound(a_workload("web"))["outbound"])
    assert idle.HasField("stream_idle_timeout")
    assert idle.stream_idle_timeout.seconds == 0


def test_grpc_clients_find_a_listener_by_every_authority() -> None:
    state = a_state(a_service("api", a_port("grpc", 80, "grpc"), a_port("raw", 81, "tcp")))
    made = {each.name: each for each in listeners.api(service_view(state, a_key("api")), "default")}
    assert {"api", "api:80", "api.mesh:80", "api.default.mesh"} <= set(made)
    assert not any(name.endswith(":81") for name in made)
    inner = HttpConnectionManager.FromString(made["api:80"].api_listener.api_listener.value)
    assert inner.rds.route_config_name == "default/api:80"
    assert [each.name for each in inner.http_filters] == [connection.ROUTER]


def test_callers_are_of_our_trust_domain_or_of_one_that_is_federated() -> None:
    api = a_workload("api-1", meshed=True, ports=[WorkloadPort("http", 9001, 15101)])

    def accepted(*trust_domains: str) -> list[str]:
        state, _ = a_state(api, a_service("api")).federated_with(trust_domains)
        (listener,) = listeners.inbound(inbound_view(state, api), NO_LISTENER_POLICIES)
        context = DownstreamTlsContext.FromString(
            listener.filter_chains[0].transport_socket.typed_config.value
        )
        validation = context.common_tls_context.combined_validation_context.default_validation_context
        return [each.matcher.prefix for each in validation.match_typed_subject_alt_names]

    own = f"spiffe://{TRUST_DOMAIN}/"
    assert accepted() == [own]
    assert accepted("b.example", "a.example") == [own, "spiffe://a.example/", "spiffe://b.example/"]
