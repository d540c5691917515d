from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from documents.parsing import parse
from envoy.seams import NOTHING
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from mesh.views import inbound_view
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from pb.envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from pb.envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from policies import log_format
from policies.access_log import EXAMPLE, KIND, AccessLog
from policies.effects import notes
from policies.kind import Side
from policies.registry import KINDS
from policies.weave import Weaver
from tests.support.builders import a_service, a_workload
from tests.support.observing import INBOUND, OUTBOUND, document, parts, refusals
from tests.support.policy_documents import declared


def test_by_default_every_request_and_connection_is_a_json_line_on_stdout() -> None:
    made = parts(KIND, "format: json", OUTBOUND)
    (http,) = HttpConnectionManager.FromString(made.manager).access_log
    (tcp,) = TcpProxy.FromString(made.tcp).access_log
    assert not http.HasField("filter")
    assert not tcp.HasField("filter")
    line, connection = StdoutAccessLog(), StdoutAccessLog()
    assert http.typed_config.Unpack(line)
    assert tcp.typed_config.Unpack(connection)
    fields = MessageToDict(line.log_format.json_format)
    assert fields["caller"] == "spiffe://mesh.test/ns/default/sa/web", "its own, known without a connection"
    assert fields["callee"] == "%UPSTREAM_PEER_URI_SAN%"
    assert {"status", "reason", "tries", "trace_id", "route"} <= fields.keys()
    assert "status" not in MessageToDict(connection.log_format.json_format)


def test_one_that_says_whom_it_concerns_and_no_more_has_the_defaults() -> None:
    text = "apiVersion: meshwright.dev/v1alpha1\nkind: AccessLog\nmetadata: {name: all}\nspec: {targetRefs: [{kind: Mesh}]}\n"
    workload = a_workload("api-1", services=("api",))
    state, _ = MeshState("mesh.test").apply(
        SourceSnapshot("s", (a_service("api"),), (workload,), declared(text))
    )
    seams = Weaver().listeners(state, workload, inbound_view(state, workload))
    (log,) = HttpConnectionManager.FromString(seams.outbound.manager).access_log
    assert log.name == "envoy.access_loggers.stdout"
    (policy,) = state.policies.policies.values()
    assert list(notes(state, policy)) == []


def test_the_document_names_the_default_fields() -> None:
    said = AccessLog.__doc__ or ""
    for http, of in ((True, "request"), (False, "TCP connection")):
        made = log_format.fields(http=http, side=Side.CALLEE, identity="spiffe://me", own={})
        assert all(f"`{name}`" in said for name in made), of


def test_the_callee_knows_the_caller_by_its_certificate() -> None:
    fields = log_format.fields(http=True, side=Side.CALLEE, identity="spiffe://me", own={})
    assert (fields["caller"], fields["callee"]) == ("%DOWNSTREAM_PEER_URI_SAN%", "spiffe://me")
    assert "the application takes no connection" in fields["reason"]


def test_fields_are_added_replaced_and_taken_away() -> None:
    own = {"user_agent": "%REQ(USER-AGENT)%", "path": "%PATH%", "flags": ""}
    fields = log_format.fields(http=True, side=Side.CALLER, identity="spiffe://me", own=own)
    assert fields["user_agent"] == "%REQ(USER-AGENT)%"
    assert fields["path"] == "%PATH%"
    assert "flags" not in fields


def test_sinks_add_up_and_stdout_gives_way_to_them_unless_it_is_said() -> None:
    def names(spec: str) -> list[str]:
        made = HttpConnectionManager.FromString(parts(KIND, spec, INBOUND).manager)
        return [each.name.rpartition(".")[2] for each in made.access_log]

    assert names("file: /var/log/a.log") == ["file"]
    assert names("otlp: collector:4317\nstdout: true") == ["stdout", "open_telemetry"]
    assert names("stdout: false") == []


def test_a_collector_is_a_cluster_of_its_own() -> None:
    (resource,) = parts(KIND, "otlp: otel.example.org:4317", INBOUND).resources
    cluster = Cluster.FromString(resource.body)
    assert (resource.name, cluster.type) == ("otlp/otel.example.org:4317", Cluster.STRICT_DNS)
    (literal,) = parts(KIND, "otlp: '[::1]:4317'", INBOUND).resources
    assert Cluster.FromString(literal.body).type == Cluster.STATIC
    assert parts(KIND, "otlp: otel.example.org:4317", OUTBOUND).resources == (resource,)


def test_a_line_of_text() -> None:
    (log,) = HttpConnectionManager.FromString(
        parts(KIND, "format: text\nline: '%PROTOCOL% 100%%'\nfile: /a", INBOUND).manager
    ).access_log
    file = FileAccessLog()
    assert log.typed_config.Unpack(file)
    assert file.log_format.text_format_source.inline_string == "%PROTOCOL% 100%%\n"


def test_callers_are_told_by_their_certificates_and_a_sidecar_knows_itself() -> None:
    only = "only: {callers: [{namespace: default, serviceAccount: web}, {namespace: shop}]}"
    (log,) = HttpConnectionManager.FromString(parts(KIND, only, INBOUND).manager).access_log
    test = ExpressionFilter()
    assert log.filter.extension_filter.typed_config.Unpack(test)
    assert test.expression == (
        "connection.uri_san_peer_certificate == 'spiffe://mesh.test/ns/default/sa/web' || "
        "connection.uri_san_peer_certificate.startsWith('spiffe://mesh.test/ns/shop/')"
    )
    (own,) = HttpConnectionManager.FromString(parts(KIND, only, OUTBOUND).manager).access_log
    assert not own.HasField("filter")
    assert parts(KIND, "only: {callers: [{namespace: shop}]}", OUTBOUND) == NOTHING


def test_one_reason_to_write_is_enough() -> None:
    made = parts(KIND, "only: {statusFrom: 400, slowerThan: 1500ms, percent: 0.5}", INBOUND)
    (log,) = HttpConnectionManager.FromString(made.manager).access_log
    status, slow, share = log.filter.or_filter.filters
    assert status.status_code_filter.comparison.value.default_value == 400
    assert slow.duration_filter.comparison.value.default_value == 1500
    assert share.runtime_filter.percent_sampled.numerator == 5000
    assert not share.runtime_filter.use_independent_randomness, "both sides choose the same requests"
    (tcp,) = TcpProxy.FromString(made.tcp).access_log
    assert [each.WhichOneof("filter_specifier") for each in tcp.filter.or_filter.filters] == [
        "response_flag_filter", "duration_filter", "runtime_filter",
    ]  # fmt: skip


def test_it_can_be_switched_off() -> None:
    assert parts(KIND, "enabled: false", INBOUND) == NOTHING


def test_the_example_is_right() -> None:
    assert parse("example", EXAMPLE.encode(), KINDS).errors == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("format: xml", "spec.format: 'xml' is not known here. Use json or text"),
        ("file: log/access.log", "spec.file: 'log/access.log' is not the absolute path of a file. Write it like /var/log/mesh/access.log"),
        ("file: /var/log/../../etc/passwd", "spec.file: '/var/log/../../etc/passwd' is not the absolute path of a file. Write it like /var/log/mesh/access.log"),
        ("otlp: collector", "spec.otlp: 'collector' is not host:port. Write it like otel.example.org:4317 or [2001:db8::1]:4317"),
        ("otlp: collector:70000", "spec.otlp: 'collector:70000' is not host:port. Write it like otel.example.org:4317 or [2001:db8::1]:4317"),
        ("fields: {a: '%RESPONSE_COD%'}", "spec.fields.a: '%RESPONSE_COD%': no operator %RESPONSE_COD%: do you mean %RESPONSE_CODE%?. See Envoy's page of access log operators"),
        ("fields: {a: '%REQ%'}", "spec.fields.a: '%REQ%': %REQ% needs something in parentheses, like %REQ(name)%. See Envoy's page of access log operators"),
        ("fields: {a: '%DURATION(x)%'}", "spec.fields.a: '%DURATION(x)%': %DURATION% takes nothing in parentheses. See Envoy's page of access log operators"),
        ("fields: {a: '100%'}", "spec.fields.a: '100%': a % that begins no operator: write %% for the sign itself. See Envoy's page of access log operators"),
        ("format: json\nline: x", "spec.line: a JSON line is made of fields. Use fields, or set format to text"),
        ("from: [{service: web}]", "spec.from: AccessLog cannot differ by caller. Remove from, and name callers in only.callers"),
        ("only: {percent: 101}", "spec.only.percent: 101 is too large. Use 100.0 or less"),
        ("only: {slowerThan: 0s}", "spec.only.slowerThan: 0s is no time at all. Use a duration above zero, or leave the field out"),
        ("only: {callers: []}", "spec.only.callers: the list is empty. Give at least 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(spec: str, message: str) -> None:
    assert refusals(document("AccessLog", spec)) == [message]


def test_a_route_is_no_target() -> None:
    assert refusals(document("AccessLog", "stdout: true", "{kind: HTTPRoute, name: r}")) == [
        "spec.targetRefs[0].kind: AccessLog concerns sidecars, not routes. Target the Service that the route is attached to"
    ]
