"""AccessLog: a line for each request and each TCP connection that a sidecar handles: which of them, with what, and where to.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/accesslog/v3/accesslog.proto
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from pydantic import AfterValidator, Field

from documents.envelope import Namespace, Part, Problem, wrong
from documents.service import ServiceAccount
from envoy.packing import pack
from envoy.seams import NOTHING, ExtraResource, Parts, serialised
from mesh.identity import Identity
from mesh.merge import freeze
from mesh.policy import Policy
from mesh.targeting import Level
from pb.envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog as AccessLogMessage,
)
from pb.envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    ComparisonFilter,
    GrpcStatusFilter,
)
from pb.envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from pb.envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from pb.envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from pb.envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import OpenTelemetryAccessLogConfig
from pb.envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.extensions.formatter.cel.v3.cel_pb2 import Cel
from policies import log_format
from policies.document import PolicyDocument, Targeting
from policies.fields import Percent, PositiveDuration, seconds, set_percent
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.observing import Address, call, collector, for_everyone, of_sidecars, service_name

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: AccessLog
metadata: {name: failures}
spec:
  targetRefs: [{kind: Mesh}]
  format: json
  fields:
    user_agent: "%REQ(USER-AGENT)%"
    protocol: ""
  only:
    errors: true
    slowerThan: 500ms
    percent: 1
"""

FAILURE_FLAGS: Final = (
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH", "DPE",
    "UMSDR", "NFCF", "DT", "UPE", "NC", "OM", "DF",
)  # fmt: skip
"""Envoy's short response flags that mean a failure; DI, a delay on purpose, does not."""
GRPC_FAILURES: Final = (
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
)
"""Statuses that are the callee's fault, as https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ counts them for servers."""


def _format(text: str) -> str:
    found = log_format.fault(text)
    if found is not None:
        raise wrong(f"{text!r}: {found}", "See Envoy's page of access log operators")
    return text


Format = Annotated[str, AfterValidator(_format)]


class LogCallerSpec(Part):
    """Callers by the identity that they proved."""

    namespace: Namespace = Field(description="Theirs.")
    service_account: ServiceAccount | None = Field(
        None, description="Theirs. By default everybody of the namespace."
    )


class OnlyFields(Part):
    """A line is written if one of `errors`, `statusFrom`, `slowerThan` and `percent` holds, and for one of `callers`."""

    errors: bool | None = Field(
        None,
        description="Status 500 and above, gRPC statuses that are the callee's fault, and whatever a proxy could not finish. By default "
        "not asked.",
    )
    status_from: int | None = Field(
        None,
        ge=100,
        le=599,
        description="This HTTP status and above: 400 for what callers did wrong, too. Of TCP, what failed. By default not asked.",
    )
    slower_than: PositiveDuration | None = Field(
        None,
        description="From the first byte of the request to the last of the answer, in whole milliseconds. For TCP: the connection's life. "
        "By default not asked.",
    )
    percent: Percent | None = Field(
        None,
        description="A share of all requests. It goes by the request id, so that both sidecars of a call choose the same ones. By "
        "default not asked; where nothing of these is asked, every request is written.",
    )
    callers: list[LogCallerSpec] | None = Field(
        None, min_length=1, description="Of these callers alone. By default of everybody."
    )


class AccessLogFields(Part):
    enabled: bool | None = Field(
        None,
        description="`false` writes nothing, whatever is said from farther away. By default true where a policy applies.",
    )
    format: Literal["json", "text"] | None = Field(
        None,
        description="`json`, an object in each line, without the fields that have no value; or `text`, `name=value` in each line. By default "
        "json. OpenTelemetry gets attributes in any case.",
    )
    fields: dict[str, Format] | None = Field(
        None,
        description="Further fields by name, with operators as Envoy has them (`%REQ(USER-AGENT)%`). An empty value takes a field away that is "
        "there by default.",
    )
    line: Format | None = Field(
        None,
        description="A whole line of text, with Envoy's operators, in place of all fields. For `format: text` only.",
    )
    stdout: bool | None = Field(
        None,
        description="To the standard output of Envoy. By default true where neither `file` nor `otlp` is said.",
    )
    file: str | None = Field(
        None,
        description="To this file on the proxy's host, an absolute path that Envoy may write to. Its directory must be there on every "
        "host concerned: a proxy that cannot open the file refuses the listener and keeps the one it has, and one that has just started "
        "has none and serves nothing. Where several proxies share a host, lines over 4 KiB of two of them may mix. By default none.",
    )
    otlp: Address | None = Field(
        None,
        description="To an OpenTelemetry collector, `host:port`, as OTLP over gRPC in plaintext. By default none.",
    )
    only: OnlyFields | None = Field(None, description="Which requests are written. By default all.")


class AccessLogSpec(Targeting, AccessLogFields):
    pass


class AccessLog(PolicyDocument):
    """What sidecars write down: nothing, until one says so.

    `targetRefs` alone is enough: a line of JSON for each request and each TCP connection goes to the standard output of Envoy, which is that
    of `meshwright proxy`, or the file that it was given as `--envoy-log`.

    By default a request's line has, of these, those that have a value: `time`, `side`, `caller`, `callee`, `method`, `authority`,
    `path`, `protocol`, `status`, `grpc_status`, `reason`, `policy`, `details`, `flags`, `transport_failure`, `duration_ms`,
    `bytes_received`, `bytes_sent`, `route`, `cluster`, `host`, `tries`, `client`, `request_id`, `trace_id`, `would_refuse`, `audit`.
    A TCP connection's, at its end: `time`, `side`, `caller`, `callee`, `reason`, `flags`, `transport_failure`, `duration_ms`,
    `bytes_received`, `bytes_sent`, `cluster`, `host`, `tries`, `client`, `details`, `would_refuse`, `audit`.
    `side` is `caller` or `callee`: whose sidecar writes the line. `policy` names the AccessPolicy that refused the request (`~` and names:
    those of which none allowed it), `would_refuse` one that is on trial, `audit` those that mark it.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["AccessLog"]
    spec: AccessLogSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from for_everyone(self.spec, "AccessLog", "Remove from, and name callers in only.callers")
        if self.spec.file is not None and not _is_file(self.spec.file):
            yield Problem(
                ("spec", "file"),
                f"{self.spec.file!r} is not the absolute path of a file",
                "Write it like /var/log/mesh/access.log",
            )
        if self.spec.line is not None and self.spec.format == "json":
            yield Problem(
                ("spec", "line"), "a JSON line is made of fields", "Use fields, or set format to text"
            )
        if self.spec.line is not None and not self.spec.line.endswith("\n") and "\n" in self.spec.line:
            yield Problem(("spec", "line"), "it is more than one line", "Use one line for each request")

    def value(self, origin: tuple[str, ...]) -> Policy:
        """One that says whom it concerns and no more wants what there is by default: without a field it would be nothing at all."""
        policy = super().value(origin)
        return policy if policy.fields else replace(policy, fields=freeze({"enabled": True}))


def effect(fields: AccessLogFields, where: Where) -> Parts:
    if fields.enabled is False:
        return NOTHING
    only = fields.only or OnlyFields.model_validate({})
    if where.side is Side.CALLER and not _is_one_of(only.callers, where.identity):
        return NOTHING
    resource = collector("otlp", fields.otlp, http2=True) if fields.otlp is not None else None
    manager, proxy = HttpConnectionManager(), TcpProxy()
    for logs, http in ((manager.access_log, True), (proxy.access_log, False)):
        formats = log_format.fields(
            http=http, side=where.side, identity=where.identity, own=fields.fields or {}
        )
        chosen = _chosen(only, where, http=http)
        for name, sink in _sinks(fields, formats, where, resource, http=http):
            made: AccessLogMessage = logs.add()
            made.name = name
            pack(made.typed_config, sink)
            if chosen is not None:
                made.filter.CopyFrom(chosen)
    return Parts(
        manager=serialised(manager),
        tcp=serialised(proxy),
        resources=() if resource is None else (resource,),
    )


# Where to


def _sinks(
    fields: AccessLogFields,
    formats: Mapping[str, str],
    where: Where,
    resource: ExtraResource | None,
    *,
    http: bool,
) -> Iterator[tuple[str, Message]]:
    if fields.stdout or (fields.stdout is None and fields.file is None and fields.otlp is None):
        stdout = StdoutAccessLog()
        _say(stdout.log_format, fields, formats)
        yield "envoy.access_loggers.stdout", stdout
    if fields.file is not None:
        file = FileAccessLog(path=fields.file)
        _say(file.log_format, fields, formats)
        yield "envoy.access_loggers.file", file
    if resource is not None:
        yield "envoy.access_loggers.open_telemetry", _otlp(formats, where, resource, http=http)


def _say(target: SubstitutionFormatString, fields: AccessLogFields, formats: Mapping[str, str]) -> None:
    target.omit_empty_values = True
    cel = target.formatters.add()  # built in since Envoy 1.36; older ones must be told
    cel.name = "envoy.formatter.cel"
    pack(cel.typed_config, Cel())
    if fields.format != "text":
        target.json_format.update(formats)
    elif fields.line is not None:
        target.text_format_source.inline_string = fields.line.rstrip("\n") + "\n"
        target.omit_empty_values = False
    else:
        target.text_format_source.inline_string = log_format.line(formats)
        target.omit_empty_values = False


def _otlp(
    formats: Mapping[str, str], where: Where, resource: ExtraResource, *, http: bool
) -> OpenTelemetryAccessLogConfig:
    made = OpenTelemetryAccessLogConfig(stat_prefix="meshwright", disable_builtin_labels=True)
    made.common_config.log_name = "access"
    call(made.common_config.grpc_service, resource)
    cel = made.formatters.add()
    cel.name = "envoy.formatter.cel"
    pack(cel.typed_config, Cel())
    made.body.string_value = (
        "%REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE%"
        if http
        else "connection to %UPSTREAM_CLUSTER_RAW% %RESPONSE_FLAGS_LONG%"
    )
    resource_ = {"service.name": service_name(where), "service.instance.id": str(where.workload)}
    _attributes(made.resource_attributes.values, resource_)
    _attributes(made.attributes.values, {name: text for name, text in formats.items() if name != "time"})
    return made


def _attributes(target: Iterable[KeyValue], values: Mapping[str, str]) -> None:
    for name, text in values.items():
        added = target.add()  # type: ignore[attr-defined]
        added.key = name
        added.value.string_value = text


# Which


def _chosen(only: OnlyFields, where: Where, *, http: bool) -> AccessLogFilter | None:
    """None: all."""
    any_of = list(_reasons(only, http=http))
    both = [_any(any_of)] if any_of else []
    if only.callers is not None and where.side is Side.CALLEE:
        both.append(_called_by(only.callers, where.trust_domains.callers))
    if not both:
        return None
    if len(both) == 1:
        return both[0]
    made = AccessLogFilter()
    made.and_filter.filters.extend(both)
    return made


def _reasons(only: OnlyFields, *, http: bool) -> Iterator[AccessLogFilter]:
    """Filters of which one is enough."""
    if only.errors or (only.status_from is not None and not http):
        made = AccessLogFilter()
        made.response_flag_filter.flags.extend(FAILURE_FLAGS)
        yield made
    if only.errors and http:
        yield _status(500)
        yield _grpc_failure()
    if only.status_from is not None and http:
        yield _status(only.status_from)
    if only.slower_than is not None:
        made = AccessLogFilter()
        comparison = made.duration_filter.comparison
        comparison.op = ComparisonFilter.GE
        comparison.value.default_value = int(seconds(only.slower_than).total_seconds() * 1000)
        comparison.value.runtime_key = "meshwright.access_log.slower_than"
        yield made
    if only.percent is not None:
        made = AccessLogFilter()
        made.runtime_filter.runtime_key = "meshwright.access_log.percent"
        set_percent(made.runtime_filter.percent_sampled, only.percent)
        made.runtime_filter.use_independent_randomness = not http  # a connection has no request id to go by
        yield made


def _status(least: int) -> AccessLogFilter:
    made = AccessLogFilter()
    comparison = made.status_code_filter.comparison
    comparison.op = ComparisonFilter.GE
    comparison.value.default_value = least
    comparison.value.runtime_key = "meshwright.access_log.status"
    return made


def _grpc_failure() -> AccessLogFilter:
    """Of gRPC alone: for other requests Envoy makes a gRPC status of the HTTP status."""
    made = AccessLogFilter()
    grpc = made.and_filter.filters.add().header_filter.header
    grpc.name = "content-type"
    grpc.string_match.prefix = "application/grpc"
    statuses = made.and_filter.filters.add().grpc_status_filter
    statuses.statuses.extend(GrpcStatusFilter.Status.Value(each) for each in GRPC_FAILURES)
    return made


def _any(filters: list[AccessLogFilter]) -> AccessLogFilter:
    if len(filters) == 1:
        return filters[0]
    made = AccessLogFilter()
    made.or_filter.filters.extend(filters)
    return made


def _called_by(callers: Iterable[LogCallerSpec], trust_domains: Iterable[str]) -> AccessLogFilter:
    """By the certificate of the connection: a header could be anybody's."""
    made = AccessLogFilter()
    made.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    peer = "connection.uri_san_peer_certificate"
    tests = (
        f"{peer} == '{Identity(trust_domain, each.namespace, each.service_account).uri}'"
        if each.service_account is not None
        else f"{peer}.startsWith('spiffe://{trust_domain}/ns/{each.namespace}/')"
        for each, trust_domain in itertools.product(callers, trust_domains)
    )
    pack(made.extension_filter.typed_config, ExpressionFilter(expression=" || ".join(tests)))
    return made


def _is_one_of(callers: list[LogCallerSpec] | None, identity: str) -> bool:
    own = Identity.parse(identity)
    return callers is None or any(
        each.namespace == own.namespace and each.service_account in {None, own.service_account}
        for each in callers
    )


def _is_file(path: str) -> bool:
    return path.startswith("/") and not path.endswith("/") and ".." not in PurePosixPath(path).parts


KIND = PolicyKind(
    AccessLog,
    AccessLogFields,
    Side.LISTENER,
    effect,
    levels=ANYWHERE - {Level.ROUTE},
    unfit={Level.ROUTE: of_sidecars("AccessLog")},
    by_workload=lambda fields: "otlp" in fields,
)
