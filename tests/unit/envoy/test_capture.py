"""Listeners of intercepted hosts. What Envoy does with them: tests/feature/test_interception_mesh.py."""

from __future__ import annotations

from envoy import capture, dns
from envoy.seams import NO_LISTENER_POLICIES, ListenerSeams, Parts
from mesh.interception import Interception, PlainCheck
from mesh.views import inbound_view, outbound_listeners_view
from mesh.virtual import virtual_view
from mesh.workload import WorkloadPort
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.data.dns.v3.dns_table_pb2 import DnsTable
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from tests.support.builders import a_key, a_port, a_service, a_state, a_workload


def an_intercepted(interception: Interception | None = None, *ports: WorkloadPort) -> Listener:
    """The inbound listener of a workload that serves api (HTTP, 9001) and, on 9000, raw TCP."""
    workload = a_workload(
        "api-1",
        address="10.0.0.1",
        meshed=True,
        ports=ports or (WorkloadPort("http", 9001), WorkloadPort("raw", 9000)),
        interception=interception or Interception(),
    )
    state = a_state(a_service("api", a_port(), a_port("raw", 9000, "tcp")), workload)
    (made,) = capture.inbound(inbound_view(state, workload), NO_LISTENER_POLICIES)
    return made


def matches(made: Listener) -> dict[tuple[int, str], str]:
    return {
        (
            each.filter_chain_match.destination_port.value,
            each.filter_chain_match.transport_protocol,
        ): each.name
        for each in made.filter_chains
    }


def test_mesh_tls_is_taken_on_the_ports_of_the_application() -> None:
    made = an_intercepted()
    assert matches(made) == {(9000, "tls"): "default/api:9000", (9001, "tls"): "default/api:80"}
    assert made.address.socket_address.address == "0.0.0.0"
    assert [each.address.socket_address.address for each in made.additional_addresses] == ["::"]
    assert [each.name.rpartition(".")[2] for each in made.listener_filters] == [
        "original_dst",
        "tls_inspector",
    ]
    assert not made.HasField("default_filter_chain"), "nothing else comes in"


def test_what_is_sent_to_a_port_of_the_sidecar_comes_here_too_and_nothing_is_handed_to_another_listener() -> (
    None
):
    made = an_intercepted(None, WorkloadPort("http", 9001, 15101), WorkloadPort("raw", 9000))
    assert matches(made) == {(9000, "tls"): "default/api:9000", (15101, "tls"): "default/api:80"}
    assert not made.use_original_dst.value


def test_checks_of_a_path_are_plaintext_and_whole_ports_are_whatever_they_speak() -> None:
    checks = (PlainCheck(9001, "/healthz"), PlainCheck(9002), PlainCheck(9003), PlainCheck(9000))
    made = an_intercepted(Interception(checks=checks, ipv6=False))
    found = matches(made)
    assert found[9001, "raw_buffer"] == "checks/9001"
    assert found[9002, ""] == "checks/9002"
    assert found[9000, ""] == "checks/9000"
    # Of 9000 mesh TLS has to be told from what else comes; on the others a server may speak first.
    quiet = [
        (rule.destination_port_range.start, rule.destination_port_range.end)
        for rule in made.listener_filters[1].filter_disabled.or_match.rules
    ]
    assert quiet == [(9002, 9003), (9003, 9004)]
    assert not made.additional_addresses


def test_who_checks_in_plaintext_is_nobody_and_what_he_says_to_envoy_is_not_believed() -> None:
    made = an_intercepted(Interception(checks=(PlainCheck(9001, "/healthz"),)))
    (chain,) = (each for each in made.filter_chains if each.name == "checks/9001")
    manager = HttpConnectionManager()
    assert chain.filters[0].typed_config.Unpack(manager)
    assert manager.use_remote_address.value
    assert manager.HasField("internal_address_config")
    assert manager.forward_client_cert_details == HttpConnectionManager.SANITIZE


def test_outbound_is_taken_on_loopback_and_passed_on_unless_it_is_refused() -> None:
    workload = a_workload("web-1", services=(), meshed=True, interception=Interception())
    view = outbound_listeners_view(a_state(workload), workload)
    made, by_tcp = capture.outbound(view, NO_LISTENER_POLICIES)
    assert (made.name, made.address.socket_address.address) == ("outbound", "127.0.0.1")
    assert [each.address.socket_address.address for each in made.additional_addresses] == ["::1"]
    assert made.HasField("default_filter_chain")
    assert (by_tcp.name, by_tcp.address.socket_address.port_value) == ("names/tcp", 15053)
    made, _ = capture.outbound(view, ListenerSeams(Parts(refuse_unknown=True)))
    assert not made.HasField("default_filter_chain")


def test_a_virtual_address_has_no_socket_and_nothing_waits_before_tcp() -> None:
    state = a_state(a_service("db", a_port("sql", 5432, "tcp"), a_port("admin", 80), address="240.0.0.9"))
    view = virtual_view(state, a_key("db"), "default")
    assert view is not None
    sql, admin = capture.virtual(view, NO_LISTENER_POLICIES)
    assert (sql.name, sql.bind_to_port.value) == ("virtual/default/db:5432", False)
    assert sql.HasField("bind_to_port")
    assert not sql.listener_filters
    assert (admin.address.socket_address.address, admin.address.socket_address.port_value) == (
        "240.0.0.9",
        80,
    )


def test_names_of_a_service_are_those_that_its_caller_may_use() -> None:
    state = a_state(a_service("db", address="240.0.0.9"))
    bodies = []
    for namespace in ("default", "elsewhere"):
        view = virtual_view(state, a_key("db"), namespace)
        assert view is not None
        table = dns.entry(view)
        bodies.append(table.SerializeToString())
        assert {each.endpoint.address_list.address[0] for each in table.virtual_domains} == {"240.0.0.9"}
    assert [each.name for each in DnsTable.FromString(bodies[0]).virtual_domains] == [
        "db.default.mesh",
        "db.default",
        "db.mesh",
        "db",
    ]
    assert len(DnsTable.FromString(bodies[1]).virtual_domains) == 2
    assert dns.listener(53, bodies, ipv6=True).listener_filters[0].name == "envoy.filters.udp.dns_filter"


def test_who_serves_nothing_has_no_inbound_listener() -> None:
    workload = a_workload(
        "cron", address="10.0.0.1", services=(), meshed=True, ports=(), interception=Interception()
    )
    assert not list(capture.inbound(inbound_view(a_state(workload), workload), NO_LISTENER_POLICIES))
