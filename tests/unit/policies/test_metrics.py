from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from documents.parsing import parse
from envoy.bootstrap import ADMIN
from envoy.check import check
from envoy.packing import LDS
from envoy.seams import NOTHING
from mesh.names import Key
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from policies.metrics import EXAMPLE, KIND, STANDARD
from policies.registry import KINDS
from tests.support.observing import INBOUND, OUTBOUND, document, parts, refusals


def listener(spec: str) -> Listener:
    (resource,) = parts(KIND, spec, OUTBOUND).resources
    assert resource.type_url == LDS
    made = Listener.FromString(resource.body)
    assert made.name == resource.name
    check(made)
    return made


def routes(spec: str) -> list[Route]:
    manager = HttpConnectionManager()
    assert listener(spec).filter_chains[0].filters[0].typed_config.Unpack(manager)
    return list(manager.route_config.virtual_hosts[0].routes)


def shown(spec: str) -> re.Pattern[str] | None:
    """What the page is narrowed to; None: not at all."""
    query = parse_qs(urlsplit(routes(spec)[0].route.prefix_rewrite).query, keep_blank_values=True)
    assert query.pop("usedonly") == [""]
    return re.compile(query["filter"][0]) if query else None


def test_a_listener_of_its_own_leads_to_one_page() -> None:
    made = listener("port: 19090")
    assert (made.name, made.address.socket_address.port_value) == ("metrics/19090", 19090)
    assert made.address.socket_address.address == "0.0.0.0"
    assert [each.match.path for each in routes("port: 19090")] == ["/metrics", "/stats/prometheus"]
    for each in routes("port: 19090"):
        exact = {header.name: header.string_match.exact for header in each.match.headers}
        assert exact == {":path": each.match.path, ":method": "GET"}
        assert each.route.cluster == ADMIN


def test_by_default_the_usual_port_and_the_usual_metrics() -> None:
    assert listener("enabled: true").name == "metrics/15090"
    usual = shown("enabled: true")
    assert usual is not None
    for name in (
        "http.outbound.downstream_rq_total",
        "http.inbound/9001/http.downstream_rq_5xx",
        "cluster.default/api_80.upstream_rq_time",
        "cluster.default/api_80/v2.upstream_rq_retry_success",
        "cluster.default/api_80.outlier_detection.ejections_active",
        "tcp.outbound/15432.downstream_cx_rx_bytes_total",
        "control_plane.connected_state",
    ):
        assert usual.search(name), name
    for name in (
        "cluster.default/api_80.update_success",
        "cluster.default/api_80.circuit_breakers.default.cx_open",
        "cluster.default/api_80.upstream_cx_http1_total",
        "listener.0.0.0.0_15101.ssl.ciphers.TLS_AES_128_GCM_SHA256",
        "server.initialization_time_ms",
    ):
        assert not usual.search(name), name


def test_more_or_all_can_be_shown() -> None:
    wider = shown(r"include: ['circuit_breakers\.default\.cx_open$']")
    assert wider is not None
    assert wider.search("cluster.default/api_80.circuit_breakers.default.cx_open")
    assert shown("detail: all") is None
    assert all(re.compile(each) for each in STANDARD)


def test_one_listener_for_each_sidecar() -> None:
    assert parts(KIND, "port: 1", INBOUND) == NOTHING
    assert parts(KIND, "port: 1", replace(INBOUND, port=None)).resources, "of a gateway as a whole"
    assert parts(KIND, "port: 1", replace(OUTBOUND, service=Key("default", "api"))) == NOTHING
    assert parts(KIND, "enabled: false", OUTBOUND) == NOTHING


def test_the_example_is_right() -> None:
    assert parse("example", EXAMPLE.encode(), KINDS).errors == ()


@pytest.mark.parametrize(
    ("spec", "target", "message"),
    [
        ("port: 0", "", "spec.port: 0 is not a port. Use a number from 1 to 65535"),
        ("address: localhost", "", "spec.address: 'localhost' is not an IP address. Use one of the proxy's host, 0.0.0.0 or ::"),
        ("detail: some", "", "spec.detail: 'some' is not known here. Use standard or all"),
        ("include: ['(']", "", "spec.include[0]: '(' is not a regular expression of RE2: missing ): (. See https://github.com/google/re2/wiki/Syntax; it has no look-around and no back-references"),
        ("detail: all\ninclude: [x]", "", "spec.include: all metrics are shown anyway. Remove it, or detail"),
        ("from: [{service: web}]", "", "spec.from: Metrics cannot differ by caller. Remove from, and target the workloads"),
        ("port: 9", "{kind: Service, name: web}", "spec.targetRefs[0].kind: Metrics are those of a whole sidecar, not of a service. Target workloads, the namespace or the mesh"),
        ("port: 9", "{kind: GRPCRoute, name: r}", "spec.targetRefs[0].kind: Metrics concerns sidecars, not routes. Target the Service that the route is attached to"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(spec: str, target: str, message: str) -> None:
    assert refusals(document("Metrics", spec, target or "{kind: Mesh}")) == [message]
