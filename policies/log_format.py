"""What a line of an access log has: its fields by default, why a request failed in words, and a check of formats that users write.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final

from policies.kind import Side
from policies.refusing import expression

DENIED: Final = "rbac_access_denied_matched_policy"
UNLESS: Final = "~"
"""How details begin of what an AccessPolicy refused, and, in brackets behind that, of what none allowed (see `access_rules`)."""

HTTP: Final[Mapping[str, str]] = {
    "time": "%START_TIME%",
    "side": "",
    "caller": "",
    "callee": "",
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "reason": "",
    "policy": "",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS_LONG%",
    "transport_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "host": "%UPSTREAM_HOST%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
}
"""Of a request. What is empty depends on the side. `client` is the direct peer: anybody can write an `x-forwarded-for`. The original path is
one that this very proxy rewrote (see `envoy.connection`); the request id is what the caller says, so that one call has one."""

TCP: Final[Mapping[str, str]] = {
    "time": "%START_TIME%",
    "side": "",
    "caller": "",
    "callee": "",
    "reason": "",
    "flags": "%RESPONSE_FLAGS_LONG%",
    "transport_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "host": "%UPSTREAM_HOST%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
}
"""Of a TCP connection, at its end."""

ACCESS: Final = "envoy.filters.http.rbac"
"""The metadata in which Envoy says what access policies made of a request."""
ACCESS_ON_TRIAL: Final[Mapping[str, str]] = {
    "would_refuse": f"%DYNAMIC_METADATA({ACCESS}:dry_run_shadow_effective_policy_id)%",
    "audit": f"%DYNAMIC_METADATA({ACCESS}:audit_shadow_effective_policy_id)%",
}
"""The policies that would have refused a request if they were not on trial, and those that mark it."""
TCP_ACCESS: Final[Mapping[str, str]] = {
    "details": "%CONNECTION_TERMINATION_DETAILS%",
    "would_refuse": "%DYNAMIC_METADATA(envoy.filters.network.rbac:dry_run_shadow_effective_policy_id)%",
    "audit": "%DYNAMIC_METADATA(envoy.filters.network.rbac:audit_shadow_effective_policy_id)%",
}
"""The same of a connection. `details` names the policy that refused it."""

NUMBERS: Final = frozenset(
    {"status", "grpc_status", "duration_ms", "bytes_received", "bytes_sent", "tries", "time"}
)
"""Fields that a text line has without quotation marks."""


def fields(*, http: bool, side: Side, identity: str, own: Mapping[str, str]) -> dict[str, str]:
    """Names and formats of a line. `identity` is that of the sidecar's workload; `own` adds fields, and removes those it has empty."""
    made = dict(HTTP if http else TCP)
    made["side"] = "caller" if side is Side.CALLER else "callee"
    # Its own identity a sidecar always knows; the other's only once there was a connection.
    made["caller"] = identity if side is Side.CALLER else "%DOWNSTREAM_PEER_URI_SAN%"
    made["callee"] = "%UPSTREAM_PEER_URI_SAN%" if side is Side.CALLER else identity
    made["reason"] = http_reason(side) if http else tcp_reason(side)
    if http:
        made["policy"] = http_policy()
    if side is Side.CALLEE:
        made |= ACCESS_ON_TRIAL if http else TCP_ACCESS
    for name, format_ in own.items():
        made.pop(name, None)
        if format_:
            made[name] = format_
    return made


def line(formats: Mapping[str, str]) -> str:
    """`name=value` for each, as one text line."""
    return (
        " ".join(
            f"{name}={format_}" if name in NUMBERS else f'{name}="{format_}"'
            for name, format_ in formats.items()
        )
        + "\n"
    )


# Why it failed. The keys are Envoy's own, https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details;
# the words are for whoever is called at night. `{callee}` is who is behind the sidecar that writes the line.

DETAILS: Final[Mapping[str, str]] = {
    "route_not_found": "no route matches: no such service, or none that this workload may call",
    "route_configuration_not_found": "the routes have not arrived yet",
    "cluster_not_found": "the route leads to a service that is not in the mesh",
    "no_healthy_upstream": "{callee} has no healthy endpoint",
    "response_timeout": "{callee} did not answer within the request timeout",
    "upstream_per_try_timeout": "{callee} did not answer within the timeout of one try",
    "upstream_per_try_idle_timeout": "{callee} fell silent in the middle of a try",
    "upstream_max_stream_duration_reached": "the stream reached its longest life",
    "max_duration_timeout": "the stream reached its longest life",
    "stream_idle_timeout": "no byte either way within the idle timeout",
    "request_overall_timeout": "the request did not come in completely in time",
    "request_header_timeout": "the head of the request did not come in in time",
    "downstream_remote_disconnect": "the caller gave up before the answer was complete",
    "http2.remote_reset": "the caller gave up before the answer was complete",
    "local_rate_limited": "over the rate limit of this proxy",
    "request_rate_limited": "over the rate limit of the mesh",
    "rate_limiter_error": "the rate limit service did not answer",
    "fault_filter_abort": "failed on purpose, by a FaultInjection policy",
    "reached_concurrency_limit": "over the limit of concurrent requests",
    "denied_by_admission_control": "refused because too many requests fail",
    "request_payload_too_large": "the request is larger than what is buffered",
    "request_payload_exceeded_retry_buffer_limit": "the request is too large to be tried again",
    "response_payload_too_large": "the answer is larger than what is buffered",
    "upgrade_failed": "the protocol upgrade is not allowed",
    "overload": "this proxy is overloaded",
}
RESETS: Final[tuple[tuple[str, str], ...]] = (
    (
        "startsWith('upstream_reset_before_response_started{remote_connection_failure|TLS_error')",
        "no mutual TLS with {callee}: one side does not accept the other identity",
    ),
    (
        "startsWith('upstream_reset_before_response_started{remote_connection_failure')",
        "{callee} takes no connection",
    ),
    (
        "startsWith('upstream_reset_before_response_started{connection_timeout')",
        "{callee} took no connection in time",
    ),
    (
        "startsWith('upstream_reset_before_response_started{overflow')",
        "over the limits of a CircuitBreaker policy",
    ),
    (
        "startsWith('upstream_reset_before_response_started')",
        "{callee} broke the connection before it answered",
    ),
    (
        "startsWith('upstream_reset_after_response_started')",
        "{callee} broke the connection in the middle of its answer",
    ),
    (f"startsWith('{DENIED}[{UNLESS}')", "no AccessPolicy allows this to the caller"),
    ("startsWith('rbac_access_denied')", "an AccessPolicy denies this to the caller"),
    ("startsWith('jwt_authn_access_denied')", "no valid token: the details say what is wrong with it"),
    ("startsWith('ext_authz_error')", "the authorization service did not answer, or not in time"),
    ("startsWith('ext_authz_denied')", "the authorization service refused it"),
)
"""Envoy adds to these details what it knows besides."""

FLAGS: Final[Mapping[int, str]] = {
    2: "{callee} has no healthy endpoint",
    32: "{callee} takes no connection",
    32 | 32768: "{callee} takes no connection, however often it is tried",
    64: "{callee} broke the connection",
    128: "over the limits of a CircuitBreaker policy",
    16384: "the caller broke the connection",
    65536: "no byte either way within the idle timeout",
    16777216: "the route leads to a service that is not in the mesh",
}
"""By the bits of Envoy's response flags, in the order of its `CoreResponseFlag`: what a TCP connection has instead of details."""


def http_reason(side: Side) -> str:
    """A format that gives the reason in words; nothing for a request that went well.

    A key that a CEL map does not have is an error, of which nothing comes: so it ends where there is nothing to say.
    """
    callee = _callee(side)
    known = _map({f"'{name}'": words for name, words in DETAILS.items()}, callee)
    answered = (
        "the callee answered so: see its own line"
        if side is Side.CALLER
        else "the application itself answered so"
    )
    resets = "".join(
        f"response.code_details.{test} ? '{words.format(callee=callee)}' : " for test, words in RESETS
    )
    return (
        f"%CEL(response.code_details == 'via_upstream' ? (response.code >= 500 ? '{answered}' : {{'': ''}}['-']) : "
        f"{resets}{known}[response.code_details])%"
    )


REFUSALS: Final[tuple[tuple[str, str], ...]] = (
    ("jwt_authn_access_denied", "RequestAuthentication"),
    ("ext_authz", "ExternalAuthorization"),
)
"""How the details of a refusal begin, and the kind of policy that refuses so: which one, the route says."""


def http_policy() -> str:
    """A format that names the policy, or those, which refused a request; nothing for a request that none refused."""
    chosen = "".join(
        f"response.code_details.startsWith('{details}') ? {expression(kind)} : " for details, kind in REFUSALS
    )
    chosen += (
        f"response.code_details.startsWith('{DENIED}') ? "
        f"metadata.filter_metadata['{ACCESS}']['enforced_effective_policy_id'] : "
    )
    return f"%CEL({chosen}{{'': ''}}['-'])%"


def tcp_reason(side: Side) -> str:
    """The same for a TCP connection."""
    denied = "".join(
        f"has(connection.termination_details) && connection.termination_details.{test} ? '{words}' : "
        for test, words in RESETS
        if "rbac" in test
    )
    return f"%CEL({denied}{_map({str(flags): words for flags, words in FLAGS.items()}, _callee(side))}[response.flags])%"


def _callee(side: Side) -> str:
    return "the callee" if side is Side.CALLER else "the application"


def _map(words: Mapping[str, str], callee: str) -> str:
    return "{" + ", ".join(f"{key}: '{text.format(callee=callee)}'" for key, text in words.items()) + "}"


# What users may write

WITH_ARGUMENT: Final = frozenset(
    {"REQ", "RESP", "TRAILER", "DYNAMIC_METADATA", "ENVIRONMENT", "QUERY_PARAM", "COMMON_DURATION"}
)
"""Operators that need something in parentheses."""
EITHER: Final = frozenset({"START_TIME", "EMIT_TIME", "PATH", "GRPC_STATUS"})
WITHOUT_ARGUMENT: Final = frozenset((
    "BYTES_RECEIVED", "BYTES_SENT", "CONNECTION_ID", "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_HEADER_BYTES_RECEIVED", "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED", "DOWNSTREAM_WIRE_BYTES_SENT", "DURATION", "FILTER_CHAIN_NAME",
    "GRPC_STATUS_NUMBER", "HOSTNAME", "LOCAL_REPLY_BODY", "PROTOCOL", "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION", "REQUEST_HEADERS_BYTES", "REQUEST_TX_DURATION", "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS", "RESPONSE_DURATION", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES", "RESPONSE_TRAILERS_BYTES", "RESPONSE_TX_DURATION", "ROUTE_NAME", "STREAM_ID",
    "TRACE_ID", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW", "UPSTREAM_CONNECTION_ID", "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME", "UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_LOCAL_URI_SAN", "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN", "UPSTREAM_PROTOCOL", "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_TLS_CIPHER", "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON", "UPSTREAM_WIRE_BYTES_RECEIVED", "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
))  # fmt: skip
WITH_LENGTH: Final = frozenset(
    {"REQ", "RESP", "TRAILER", "DYNAMIC_METADATA", "ENVIRONMENT", "QUERY_PARAM", "PATH"}
)
"""Operators whose value may be cut, as in `%REQ(USER-AGENT):20%`."""
HEADERS: Final = frozenset({"REQ", "RESP", "TRAILER"})
TIMES: Final = frozenset({"START_TIME", "EMIT_TIME"})
MAX_LENGTH_DIGITS: Final = 9
"""Envoy refuses what 64 bits do not hold; no line is that long."""
_OPERATOR = re.compile(r"%([A-Z][A-Z0-9_]*)(?:\((.*?)\))?(?::([0-9]+))?%")
_HEADER = re.compile(r"(?::?[A-Za-z0-9!#$%&'*+.^_`|~-]+)?")
"""A token of RFC 9110 or a pseudo header; Envoy takes an empty one too."""
_NEWLINE = re.compile(r"%[-_0^#]*[1-9]*[EO]?n")
"""A format of `strftime` that Envoy refuses: it makes one line two."""


def fault(text: str) -> str | None:
    """What is wrong with a format that a user wrote, if anything: Envoy would refuse the whole listener for it."""
    at = text.find("%")
    while at >= 0:  # from left to right, as Envoy does: in `%PROTOCOL%%DURATION%` is no %%
        if text.startswith("%%", at):
            end = at + 2
        else:
            operator = _OPERATOR.match(text, at)
            if operator is None:
                return "a % that begins no operator: write %% for the sign itself"
            found = _operator_fault(operator[1], operator[2] or "", operator[3])
            if found is not None:
                return found
            end = operator.end()
        at = text.find("%", end)
    return None


def _operator_fault(name: str, argument: str, length: str | None) -> str | None:
    if name in WITH_ARGUMENT:
        if not argument:
            return f"%{name}% needs something in parentheses, like %{name}(name)%"
    elif name in WITHOUT_ARGUMENT:
        if argument:
            return f"%{name}% takes nothing in parentheses"
    elif name not in EITHER:
        near = difflib.get_close_matches(name, WITH_ARGUMENT | EITHER | WITHOUT_ARGUMENT, 1)
        return f"no operator %{name}%" + (f": do you mean %{near[0]}%?" if near else "")
    if length is not None and name not in WITH_LENGTH:
        return f"%{name}% takes no length: remove :{length}"
    if length is not None and len(length) > MAX_LENGTH_DIGITS:
        return f"the length of %{name}% has more than {MAX_LENGTH_DIGITS} digits"
    return _argument_fault(name, argument)


def _argument_fault(name: str, argument: str) -> str | None:
    """Tried on Envoy 1.40.0 with `--mode validate`."""
    parts = argument.split(":")
    if name in HEADERS:
        headers = argument.split("?")
        if len(headers) > 2:
            return f"%{name}% takes a header and one other, like %{name}(a?b)%"
        for header in headers:
            if _HEADER.fullmatch(header) is None:
                return f"{header!r} is not the name of a header, like %{name}(X-REQUEST-ID)%"
    elif name in TIMES:
        if _NEWLINE.search(argument) is not None:
            return f"%{name}% may not begin a new line"
    elif name == "COMMON_DURATION":
        if len(parts) not in (2, 3) or parts[2:] not in ([], ["ms"], ["us"], ["ns"]):
            return "%COMMON_DURATION% takes from:to or from:to:precision with ms, us or ns, like %COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)%"
    elif name == "GRPC_STATUS":
        if argument not in ("", "CAMEL_STRING", "SNAKE_STRING", "NUMBER"):
            return "%GRPC_STATUS% takes CAMEL_STRING, SNAKE_STRING or NUMBER"
    elif name == "PATH" and (
        len(parts) > 2
        or parts[0] not in ("", "WQ", "NQ")
        or parts[1:] not in ([], [""], ["ORIG"], ["PATH"], ["ORIG_OR_PATH"])
    ):
        return "%PATH% takes WQ or NQ, then ORIG, PATH or ORIG_OR_PATH, like %PATH(NQ:ORIG)%"
    return None
