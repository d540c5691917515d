"""From what a proxy logs of a request or a connection to what it counts for: pure."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from meshwright.rollout.health import Outcome, Subject
from pb.envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    AccessLogType,
    HTTPAccessLogEntry,
    ResponseFlags,
    TCPAccessLogEntry,
)

Entry = HTTPAccessLogEntry | TCPAccessLogEntry
ENDS = frozenset({AccessLogType.NotSet, AccessLogType.DownstreamEnd, AccessLogType.TcpConnectionEnd})
FAILED = frozenset({
    "no_healthy_upstream", "upstream_request_timeout", "local_reset", "upstream_remote_reset", "upstream_connection_failure",
    "upstream_connection_termination", "upstream_overflow", "no_route_found", "upstream_retry_limit_exceeded", "stream_idle_timeout",
    "upstream_max_stream_duration_reached", "no_filter_config_found", "duration_timeout", "upstream_protocol_error", "no_cluster_found",
    "overload_manager", "dns_resolution_failure", "rate_limit_service_error",
})  # fmt: skip
"""What a proxy could not finish, in the words of Envoy's response flags; what the caller broke off is not among it.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage#response-flags"""
GRPC_FAILED = frozenset({"2", "4", "12", "13", "14", "15"})
"""Those that are the callee's fault: see `policies.access_log.GRPC_FAILURES`."""
GRPC_STATUS = "grpc-status"
CALLED = 100
"""Characters of a host that are told apart: it is what an application says."""


def ended(entry: Entry) -> bool:
    """Whether the entry is the last of its request or connection: of others it says too little."""
    return entry.common_properties.access_log_type in ENDS


def began(entry: Entry) -> float | None:
    """Seconds since the epoch, by the clock of the proxy; None where it is not told."""
    common = entry.common_properties
    if not common.HasField("start_time"):
        return None
    return common.start_time.seconds + common.start_time.nanos / 1e9


def asked(entry: Entry) -> str:
    """Whom a caller asked for, whatever became of it: the host of a request, the cluster of a connection."""
    if isinstance(entry, HTTPAccessLogEntry):
        host = entry.request.authority[:CALLED].lower()
        return host.rpartition(":")[0] or host if host[-1:].isdigit() else host
    return entry.common_properties.upstream_cluster[:CALLED]


def callee(entry: Entry) -> tuple[str, int]:
    """The address and port of the endpoint that was called; empty where there was none."""
    address = entry.common_properties.upstream_remote_address.socket_address
    return address.address, address.port_value


def outcome(entry: Entry, *, client_errors: bool) -> Outcome:
    common = entry.common_properties
    flags = _flags(common.response_flags)
    if isinstance(entry, TCPAccessLogEntry):
        return Outcome(bool(flags), None, f"connection: {_words(flags)}" if flags else "")
    code = entry.response.response_code.value
    grpc = entry.response.response_trailers.get(GRPC_STATUS) or entry.response.response_headers.get(
        GRPC_STATUS
    )
    latency = _latency(common)
    if code >= 500 or (client_errors and code >= 400) or flags:
        return Outcome(failed=True, latency=latency, reason=f"{code or 'no answer'} {_words(flags)}".strip())
    if grpc in GRPC_FAILED:
        return Outcome(failed=True, latency=latency, reason=f"gRPC status {grpc}")
    return Outcome(failed=False, latency=latency)


def calls(entry: Entry) -> Subject:
    return "to", asked(entry)


def _flags(flags: ResponseFlags) -> list[str]:
    return [field.name for field, value in flags.ListFields() if value and field.name in FAILED]


def _words(flags: list[str]) -> str:
    return ", ".join(each.replace("_", " ") for each in flags)


def _latency(common: AccessLogCommon) -> float | None:
    """Until the first byte of the answer: a stream lasts as long as its ends want."""
    for name in ("time_to_first_downstream_tx_byte", "duration"):
        if common.HasField(name):
            told: Duration = getattr(common, name)
            return max(0.0, told.seconds + told.nanos / 1e9)
    return None
