"""Tracing: which requests are traced, with what, and to which collector. Each sidecar adds a span; the application hands on the headers.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/observability/tracing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from google.protobuf.message import Message
from pydantic import AfterValidator, Field, model_validator

from documents.envelope import Part, Problem, wrong
from envoy.packing import pack
from envoy.seams import NOTHING, ExtraResource, Parts, serialised
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from pb.envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from pb.envoy.extensions.tracers.opentelemetry.resource_detectors.v3.static_config_resource_detector_pb2 import (
    StaticConfigResourceDetectorConfig,
)
from pb.envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from pb.envoy.type.v3.percent_pb2 import FractionalPercent
from policies.document import PolicyDocument, Targeting
from policies.fields import Percent
from policies.kind import PolicyKind, Side, Where
from policies.observing import Address, call, collector, for_everyone, service_name

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Tracing
metadata: {name: mesh}
spec:
  targetRefs: [{kind: Mesh}]
  otlp: 127.0.0.1:4317
  sampling: 5
  alwaysFor: [x-debug]
  tags:
    tenant: {header: x-tenant, default: none}
    stage: {literal: production}
"""
SAMPLING: Final = 1.0
"""Percent where nobody says otherwise: what a busy mesh bears."""
FORCE: Final = "x-client-trace-id"
"""The header by which Envoy knows that a client wants this request traced."""
ZIPKIN_PATH: Final = "/api/v2/spans"


def _header(name: str) -> str:
    if not name or not all(each.isascii() and (each.isalnum() or each in "-_.") for each in name):
        raise wrong(f"{name!r} is not the name of a header", "Write it like x-debug")
    return name.lower()


HeaderName = Annotated[str, AfterValidator(_header)]


class TagFields(Part):
    """Exactly one of `literal`, `header` and `environment`."""

    literal: str | None = Field(None, min_length=1, description="This text.")
    header: HeaderName | None = Field(None, description="What this header of the request says.")
    environment: str | None = Field(
        None,
        min_length=1,
        description="This variable of the environment of Envoy, which sees few unless `meshwright proxy --envoy-env` names more.",
    )
    default: str | None = Field(
        None, description="Where there is no such header or variable. By default the tag is left out then."
    )

    @model_validator(mode="after")
    def _one(self) -> TagFields:
        said = [each for each in (self.literal, self.header, self.environment) if each is not None]
        if len(said) != 1:
            raise wrong(
                f"a tag has one source, not {len(said)}", "Give one of literal, header and environment"
            )
        return self


class TracingFields(Part):
    enabled: bool | None = Field(
        None,
        description="`false` traces nothing here, whatever is said from farther away. By default true where a policy applies.",
    )
    otlp: Address | None = Field(
        None,
        description="An OpenTelemetry collector, `host:port`: spans go to it as OTLP over gRPC in plaintext. By default none.",
    )
    zipkin: Address | None = Field(
        None,
        description="A Zipkin collector, `host:port`, in place of `otlp`: spans go to it as JSON over HTTP, in version 2. There a service is named by its workload; the tag `service` has the name that OpenTelemetry would get. By default none.",
    )
    zipkin_path: str | None = Field(
        None,
        pattern=r"^/\S*$",
        description=f"The path of the Zipkin collector. By default `{ZIPKIN_PATH}`.",
    )
    sampling: Percent | None = Field(
        None,
        description="The share of requests that begin a trace, in percent, to a hundredth. A request that came with a trace keeps what was "
        f"decided for it. It goes by `x-request-id`, which must be a UUID where an application sets it. By default {SAMPLING:.0f}.",
    )
    always_for: list[HeaderName] | None = Field(
        None,
        description="Headers: a request that has one of them is traced whatever the share. Applications see `x-client-trace-id` then, as they "
        "do where a trace goes on that was begun before. By default none.",
    )
    propagation: list[Literal["w3c", "b3"]] | None = Field(
        None,
        min_length=1,
        description="Headers by which a trace is handed on: `traceparent` (w3c), `x-b3-…` (b3). OpenTelemetry has w3c alone; Zipkin b3, and w3c "
        "besides. By default all that the collector's protocol has.",
    )
    tags: dict[str, TagFields] | None = Field(
        None, description="What spans say besides, by name. By default nothing."
    )


class TracingSpec(Targeting, TracingFields):
    pass


class Tracing(PolicyDocument):
    """What is traced."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Tracing"]
    spec: TracingSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from for_everyone(
            self.spec, "Tracing", "Remove from, and target the callers' workloads or namespace"
        )
        reason = _contradiction(self.spec)
        if reason is not None:
            yield Problem(("spec", reason[0]), *reason[1:])


def _contradiction(fields: TracingFields) -> tuple[str, str, str] | None:
    """Field, reason and remedy; also for what several policies say together."""
    if fields.otlp is not None and fields.zipkin is not None:
        return (
            "zipkin",
            "there is one collector, and otlp names another",
            "Set one of the two, and the other to null",
        )
    if fields.zipkin_path is not None and fields.otlp is not None:
        return "zipkinPath", "the collector is not Zipkin but OpenTelemetry", "Remove it"
    if fields.otlp is not None and "b3" in (fields.propagation or ()):
        return "propagation", "OpenTelemetry hands traces on as w3c alone", "Use [w3c], or a Zipkin collector"
    if fields.zipkin is not None and fields.propagation == ["w3c"]:
        return "propagation", "Zipkin hands traces on as b3 at least", "Use [b3] or [b3, w3c]"
    return None


def effect(fields: TracingFields, where: Where) -> Parts:
    """Raises ValueError for what several policies contradict each other in."""
    if where.side is Side.CALLER and where.service is not None:
        return _at_routes(fields) if where.route else NOTHING
    contradiction = _contradiction(fields)
    if contradiction is not None:
        raise ValueError(": ".join(contradiction))
    if fields.enabled is False or (fields.otlp is None and fields.zipkin is None):
        return NOTHING
    manager = HttpConnectionManager()
    resource, tracer, name = _tracer(fields, where)
    manager.tracing.provider.name = name
    pack(manager.tracing.provider.typed_config, tracer)
    manager.tracing.random_sampling.value = SAMPLING if fields.sampling is None else fields.sampling
    # By OpenTelemetry's rule a name has few values (https://opentelemetry.io/docs/specs/otel/trace/api/#span); the path is an attribute.
    manager.tracing.operation = "%REQ(:METHOD)% " + (
        "%REQ(:AUTHORITY)%" if where.service is None else where.service.name
    )
    for tag in _tags(fields):
        manager.tracing.custom_tags.append(tag)
    if fields.zipkin is not None:
        manager.tracing.custom_tags.add(tag="service").literal.value = service_name(where)
    _force(manager, fields.always_for or [])
    return Parts(manager=serialised(manager), resources=(resource,))


def _at_routes(fields: TracingFields) -> Parts:
    """For one rule of a route, at its callers: whom they trace with is said at their listeners."""
    route = Route()
    if fields.enabled is False:
        _share(route.tracing.overall_sampling, 0)
    elif fields.sampling is None and fields.tags is None:
        return NOTHING
    _share(route.tracing.random_sampling, SAMPLING if fields.sampling is None else fields.sampling)
    for tag in _tags(fields):
        route.tracing.custom_tags.append(tag)
    return Parts(route=serialised(route))


def _share(target: FractionalPercent, percent: float) -> None:
    """Envoy compares the numerator with a number below ten thousand, whatever the denominator is."""
    target.numerator = round(percent * 100)
    target.denominator = FractionalPercent.TEN_THOUSAND


def _tracer(fields: TracingFields, where: Where) -> tuple[ExtraResource, Message, str]:
    if fields.zipkin is not None:
        resource = collector("zipkin", fields.zipkin, http2=False)
        zipkin = ZipkinConfig(
            collector_cluster=resource.name,
            collector_endpoint=fields.zipkin_path or ZIPKIN_PATH,
            collector_endpoint_version=ZipkinConfig.HTTP_JSON,
            collector_hostname=fields.zipkin,
            trace_id_128bit=True,
        )
        zipkin.shared_span_context.value = False  # each sidecar has a span of its own, as in OpenTelemetry
        if "w3c" in (fields.propagation or ("w3c",)):
            zipkin.trace_context_option = ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION
        return resource, zipkin, "envoy.tracers.zipkin"
    assert fields.otlp is not None  # noqa: S101 (effect has looked)
    resource = collector("otlp", fields.otlp, http2=True)
    otlp = OpenTelemetryConfig(service_name=service_name(where))
    call(otlp.grpc_service, resource)
    detector = otlp.resource_detectors.add()
    detector.name = "envoy.tracers.opentelemetry.resource_detectors.static_config"
    about = StaticConfigResourceDetectorConfig()
    about.attributes["service.instance.id"] = str(where.workload)
    pack(detector.typed_config, about)
    return resource, otlp, "envoy.tracers.opentelemetry"


def _tags(fields: TracingFields) -> Iterator[CustomTag]:
    said: Mapping[str, TagFields] = fields.tags or {}
    for name, each in sorted(said.items()):
        tag = CustomTag(tag=name)
        if each.literal is not None:
            tag.literal.value = each.literal
        elif each.header is not None:
            tag.request_header.name = each.header
            tag.request_header.default_value = each.default or ""
        else:
            tag.environment.name = each.environment or ""
            tag.environment.default_value = each.default or ""
        yield tag


def _force(manager: HttpConnectionManager, headers: list[str]) -> None:
    """Before Envoy decides about the trace, it is told what its own header would tell: that this one is wanted.

    Envoy would decide again for a request that came with a trace, and cut the trace off; for OpenTelemetry, whose sampled flag is the last
    of `traceparent` (https://www.w3.org/TR/trace-context/#trace-flags), and for Zipkin's `x-b3-sampled`.
    """
    wanted = [f"'{name}' in request.headers" for name in headers]
    for name, test in (("traceparent", "endsWith('1')"), ("x-b3-sampled", "startsWith('1')")):
        wanted.append(f"('{name}' in request.headers && request.headers['{name}'].{test})")
    mutations = HeaderMutation()
    option = mutations.mutations.add().append
    option.header.key = FORCE
    option.header.value = f"%CEL({' || '.join(wanted)} ? '1' : '')%"
    option.keep_empty_value = False
    option.append_action = HeaderValueOption.ADD_IF_ABSENT
    extension = manager.early_header_mutation_extensions.add()
    extension.name = "envoy.http.early_header_mutation.header_mutation"
    pack(extension.typed_config, mutations)


KIND = PolicyKind(
    Tracing,
    TracingFields,
    Side.LISTENER | Side.CALLER,
    effect,
    by_workload=lambda fields: "otlp" in fields,
)
