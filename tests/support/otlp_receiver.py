"""A real OTLP endpoint: OpenTelemetry's published gRPC services for traces and logs, which keep what they are sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_api
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_api
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_service
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from tests.support.processes import eventually


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are hexadecimal; `parent` is empty at the root. `kind` is CLIENT, SERVER …; `seconds` how long it took."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]
    resource: dict[str, str]
    seconds: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Log:
    body: str
    attributes: dict[str, str]
    resource: dict[str, str]
    trace: str


class OtlpReceiver:
    """An async context manager; a server on a free port of loopback."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.received_logs: list[Log] = []
        self.address = ""
        self._server = grpc.aio.server()

    async def __aenter__(self) -> Self:
        traces, logs = _Traces(self.spans), _Logs(self.received_logs)
        trace_service.add_TraceServiceServicer_to_server(traces, self._server)  # type: ignore[no-untyped-call]
        logs_service.add_LogsServiceServicer_to_server(logs, self._server)  # type: ignore[no-untyped-call]
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    async def trace(self, spans: int, **attributes: str) -> list[Span]:
        """The spans of the one trace in which a span has all `attributes`, once there are so many; parents before children."""

        async def whole() -> list[Span]:
            wanted = attributes.items()
            traces = {each.trace for each in self.spans if wanted <= each.attributes.items()}
            found = [each for each in self.spans if each.trace in traces]
            assert len(found) >= spans, self.spans
            return found

        found = await eventually(whole, f"a trace of {spans} spans", patience=15)
        assert len({each.trace for each in found}) == 1, found
        return _in_order(found)

    async def logs(self, count: int) -> list[Log]:
        """All logs, once there are so many."""

        async def enough() -> list[Log]:
            assert len(self.received_logs) >= count, self.received_logs
            return self.received_logs

        return await eventually(enough, f"{count} logs", patience=15)


class _Traces(trace_service.TraceServiceServicer):
    def __init__(self, spans: list[Span]) -> None:
        self._spans = spans

    async def Export(  # noqa: N802 (gRPC's name)
        self, request: trace_api.ExportTraceServiceRequest, context: object
    ) -> trace_api.ExportTraceServiceResponse:
        for of_resource in request.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self._spans.extend(_span(each, resource) for each in scope.spans)
        return trace_api.ExportTraceServiceResponse()


class _Logs(logs_service.LogsServiceServicer):
    def __init__(self, logs: list[Log]) -> None:
        self._logs = logs

    async def Export(  # noqa: N802 (gRPC's name)
        self, request: logs_api.ExportLogsServiceRequest, context: object
    ) -> logs_api.ExportLogsServiceResponse:
        for of_resource in request.resource_logs:
            resource = _values(of_resource.resource.attributes)
            for scope in of_resource.scope_logs:
                for each in scope.log_records:
                    self._logs.append(
                        Log(_text(each.body), _values(each.attributes), resource, each.trace_id.hex())
                    )
        return logs_api.ExportLogsServiceResponse()


def _span(span: SpanMessage, resource: dict[str, str]) -> Span:
    return Span(
        service=resource.get("service.name", ""),
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        resource=resource,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.code == 2,
    )


def _values(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {each.key: _text(each.value) for each in attributes}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return str(getattr(value, kind)) if kind else ""


def _in_order(spans: list[Span]) -> list[Span]:
    """Each after its parent."""
    by_id = {each.id: each for each in spans}

    def depth(span: Span) -> int:
        return 1 + depth(by_id[span.parent]) if span.parent in by_id else 0

    return sorted(spans, key=depth)
