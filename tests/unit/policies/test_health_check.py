from __future__ import annotations

from dataclasses import replace

import pytest

from envoy import clusters
from envoy.seams import NOTHING
from mesh.external import External
from mesh.views import service_view
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.health_check_pb2 import HealthCheck
from pb.envoy.type.v3.http_pb2 import CodecClientType
from policies.health_check import EXAMPLE, KIND
from tests.support.builders import a_port, a_service, a_state
from tests.support.policy_documents import API, CALLER, accepted, added, refusals

PORTS = [
    a_port("http", 80, "http"),
    a_port("http2", 81, "http2"),
    a_port("grpc", 82, "grpc"),
    a_port("tcp", 83, "tcp"),
]


def checks(fields: str) -> list[HealthCheck]:
    return list(Cluster.FromString(added(KIND, fields, CALLER).cluster).health_checks)


def ways(fields: str) -> list[str | None]:
    """How each port of the service is asked."""
    view = service_view(a_state(a_service("api", *PORTS)), API)
    parts = added(KIND, fields, CALLER)
    found: list[str | None] = []
    for port in view.ports:
        (check,) = clusters.outbound(view, port, parts).health_checks
        found.append(check.WhichOneof("health_checker"))
    return found


def test_http() -> None:
    check = checks("{http: {path: /up, statuses: [200, 300-399], headers: {X-A: b}, method: HEAD}}")[0]
    asked = check.http_health_check
    assert asked.path == "/up"
    assert [(each.start, each.end) for each in asked.expected_statuses] == [(200, 201), (300, 400)]
    assert [(each.header.key, each.header.value) for each in asked.request_headers_to_add] == [("x-a", "b")]


def test_pace_and_thresholds() -> None:
    check = checks("{type: TCP, interval: 3s, timeout: 500ms, unhealthyThreshold: 4, jitterPercent: 0}")[0]
    assert (check.interval.ToSeconds(), check.timeout.ToMilliseconds()) == (3, 500)
    assert check.no_traffic_interval.ToSeconds() == 3, "Envoy's own is a minute"
    assert (check.unhealthy_threshold.value, check.healthy_threshold.value) == (4, 2)
    assert check.interval_jitter_percent == 0
    assert check.reuse_connection.value


def test_bytes() -> None:
    asked = checks("{tcp: {send: '0a0b', receive: ['0c']}}")[0].tcp_health_check
    assert asked.send.text == "0a0b"
    assert [each.text for each in asked.receive] == ["0c"]


def test_each_port_is_asked_in_its_own_way() -> None:
    http, grpc, tcp = "http_health_check", "grpc_health_check", "tcp_health_check"
    assert ways("{}") == [http, http, grpc, tcp]
    assert ways("{http: {path: /}}") == [http, http, http, tcp]
    assert ways("{type: GRPC}") == [tcp, tcp, grpc, tcp]
    assert ways("{type: TCP}") == [tcp, tcp, tcp, tcp]
    assert ways("{http: {path: /}, grpc: {service: a}}") == [http, http, grpc, tcp], "neither is the only one"


def test_a_port_of_http2_is_asked_by_it() -> None:
    view = service_view(a_state(a_service("api", *PORTS)), API)
    http, http2 = (
        clusters.outbound(view, port, added(KIND, "{}", CALLER)).health_checks[0].http_health_check
        for port in view.ports[:2]
    )
    assert (http.codec_client_type, http2.codec_client_type) == (CodecClientType.HTTP1, CodecClientType.HTTP2)
    assert http.host == "api.default.mesh"


@pytest.mark.parametrize(("host", "asked"), [("db.example.org", ["db.example.org"]), ("*.example.org", [])])
def test_what_is_outside_is_asked_for_by_its_own_name(host: str, asked: list[str]) -> None:
    """With a wildcard, nobody knows who is there before he is called."""
    service = replace(a_service("api", PORTS[0]), external=External((host,)))
    view = service_view(a_state(service), API)
    made = clusters.outbound(view, view.ports[0], added(KIND, "{}", CALLER))
    assert [each.http_health_check.host for each in made.health_checks] == asked


def test_the_registry_has_the_last_word() -> None:
    assert Cluster.FromString(added(KIND, "{}", CALLER).cluster).ignore_health_on_host_removal


def test_a_route_has_no_endpoints() -> None:
    assert added(KIND, "{}", replace(CALLER, route=True)) == NOTHING


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("http: {path: up}", "spec.http.path: 'up' is not a path. Begin it with / and leave out spaces"),
        (
            "http: {statuses: [99]}",
            "spec.http.statuses[0]: 99 is no HTTP status. Use a number like 200, or a range like 200-299",
        ),
        (
            "http: {statuses: [300-200]}",
            "spec.http.statuses[0]: '300-200' is no HTTP status. Use a number like 200, or a range like 200-299",
        ),
        (
            "tcp: {send: xy}",
            "spec.tcp.send: 'xy' is not hexadecimal. Use two digits for each byte, in quotes, like \"50494e47\"",
        ),
        (
            "type: TCP, http: {path: /}",
            "spec.http: it has no effect on checks of type TCP. Remove it, or use type: HTTP",
        ),
        ("unhealthyThreshold: 0", "spec.unhealthyThreshold: 0 is too small. Use 1 or more"),
        (
            "timeout: 0s",
            "spec.timeout: 0s is no time at all. Use a duration above zero, or leave the field out",
        ),
        ("type: PING", "spec.type: 'PING' is not known here. Use HTTP, GRPC or TCP"),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("HealthCheck", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
