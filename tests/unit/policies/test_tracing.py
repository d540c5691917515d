from __future__ import annotations

from dataclasses import replace

import pytest

from documents.parsing import parse
from envoy.seams import NOTHING
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import inbound_view, outbound_scope, service_view
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from pb.envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from policies.kind import Where
from policies.registry import KINDS
from policies.tracing import EXAMPLE, KIND
from policies.weave import Weaver
from tests.support.builders import a_proxy, a_service
from tests.support.observing import INBOUND, OUTBOUND, document, parts, refusals

OTLP = "otlp: 127.0.0.1:4317\n"
ROUTE = replace(OUTBOUND, service=Key("default", "api"), workload=None, identity="", route=True)


def tracing(spec: str, where: Where) -> HttpConnectionManager.Tracing:
    return HttpConnectionManager.FromString(parts(KIND, spec, where).manager).tracing


def test_spans_have_the_name_of_the_identity_and_few_names() -> None:
    made = tracing(OTLP, OUTBOUND)
    config = OpenTelemetryConfig()
    assert made.provider.typed_config.Unpack(config)
    assert config.service_name == "web.default"
    assert config.grpc_service.envoy_grpc.cluster_name == "otlp/127.0.0.1:4317"
    assert made.operation == "%REQ(:METHOD)% %REQ(:AUTHORITY)%"
    assert tracing(OTLP, INBOUND).operation == "%REQ(:METHOD)% web"


def test_a_share_is_small_by_default_and_exact() -> None:
    assert tracing(OTLP, OUTBOUND).random_sampling.value == 1
    assert tracing(OTLP + "sampling: 0.25", OUTBOUND).random_sampling.value == 0.25


def test_a_header_and_a_trace_that_was_begun_force_it() -> None:
    manager = HttpConnectionManager.FromString(parts(KIND, OTLP + "alwaysFor: [X-Debug]", OUTBOUND).manager)
    (extension,) = manager.early_header_mutation_extensions
    mutations = HeaderMutation()
    assert extension.typed_config.Unpack(mutations)
    (mutation,) = mutations.mutations
    assert mutation.append.header.key == "x-client-trace-id"
    assert mutation.append.header.value.startswith("%CEL('x-debug' in request.headers || ('traceparent' in")


def test_tags_have_one_of_three_sources() -> None:
    spec = OTLP + "tags: {a: {literal: x}, b: {header: X-B, default: none}, c: {environment: HOME}}"
    first, second, third = tracing(spec, INBOUND).custom_tags
    assert (first.tag, first.literal.value) == ("a", "x")
    assert (second.request_header.name, second.request_header.default_value) == ("x-b", "none")
    assert third.environment.name == "HOME"


@pytest.mark.parametrize(
    ("said", "option"), [("", 1), ("propagation: [b3]", 0), ("propagation: [b3, w3c]", 1)]
)
def test_zipkin_hands_on_what_is_asked_for(said: str, option: int) -> None:
    config = ZipkinConfig()
    assert tracing(f"zipkin: zipkin:9411\n{said}", INBOUND).provider.typed_config.Unpack(config)
    assert (config.trace_context_option, config.collector_endpoint) == (option, "/api/v2/spans")


def test_a_route_says_how_many_and_with_what_and_a_service_nothing_to_its_callers() -> None:
    made = parts(KIND, "sampling: 12.34\ntags: {a: {literal: x}}", ROUTE)
    route = Route.FromString(made.route)
    assert (route.tracing.random_sampling.numerator, route.tracing.random_sampling.denominator) == (1234, 1)
    assert route.tracing.custom_tags[0].tag == "a"
    assert parts(KIND, "sampling: 10", replace(ROUTE, route=False)) == NOTHING
    off = Route.FromString(parts(KIND, "enabled: false", ROUTE).route).tracing.overall_sampling
    assert (off.numerator, off.denominator) == (0, 1)


def test_without_a_collector_or_switched_off_there_is_nothing() -> None:
    assert parts(KIND, "sampling: 10", OUTBOUND) == NOTHING
    assert parts(KIND, OTLP + "enabled: false", OUTBOUND) == NOTHING


def test_what_is_wrong_only_together_is_left_out_and_named() -> None:
    documents = (
        document("Tracing", OTLP)
        + "---\n"
        + document("Tracing", "zipkin: z:9411", "{kind: Service, name: web}")
    )
    documents = documents.replace("name: it", "name: first", 1)
    parsed = parse("a.yaml", documents.encode(), KINDS)
    assert parsed.errors == ()
    workload = a_proxy("web-1", services=("web",))
    state, _ = MeshState("mesh.test").apply(
        SourceSnapshot("s", (a_service("web"),), (workload,), tuple(parsed.declared()))
    )
    weaver = Weaver()
    seams = weaver.listeners(state, workload, inbound_view(state, workload))
    assert seams.outbound == NOTHING, "its own calls are concerned, too"
    assert seams.inbound == ()
    (problem,) = weaver.problems.values()
    assert "there is one collector, and otlp names another" in problem
    view = service_view(state, Key("default", "web"))
    assert weaver.service(state, outbound_scope(state, workload), view).service == NOTHING


def test_the_example_is_right() -> None:
    assert parse("example", EXAMPLE.encode(), KINDS).errors == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("otlp: 4317", 'spec.otlp: 4317 is read as a number, and text is wanted. Put it in quotes: "4317"'),
        ("otlp: http://otel:4317", "spec.otlp: 'http://otel:4317' is not host:port. Write it like otel.example.org:4317 or [2001:db8::1]:4317"),
        ("otlp: a:1\nzipkin: b:2", "spec.zipkin: there is one collector, and otlp names another. Set one of the two, and the other to null"),
        ("otlp: a:1\nzipkinPath: /x", "spec.zipkinPath: the collector is not Zipkin but OpenTelemetry. Remove it"),
        ("otlp: a:1\npropagation: [b3]", "spec.propagation: OpenTelemetry hands traces on as w3c alone. Use [w3c], or a Zipkin collector"),
        ("zipkin: a:1\npropagation: [w3c]", "spec.propagation: Zipkin hands traces on as b3 at least. Use [b3] or [b3, w3c]"),
        ("sampling: -1", "spec.sampling: -1 is too small. Use 0.0 or more"),
        ("alwaysFor: ['x debug']", "spec.alwaysFor[0]: 'x debug' is not the name of a header. Write it like x-debug"),
        ("tags: {a: {}}", "spec.tags.a: a tag has one source, not 0. Give one of literal, header and environment"),
        ("tags: {a: {literal: x, header: y}}", "spec.tags.a: a tag has one source, not 2. Give one of literal, header and environment"),
        ("from: [{service: web}]", "spec.from: Tracing cannot differ by caller. Remove from, and target the callers' workloads or namespace"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(spec: str, message: str) -> None:
    assert refusals(document("Tracing", spec)) == [message]
