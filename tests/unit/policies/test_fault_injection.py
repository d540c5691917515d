from __future__ import annotations

import pytest

from envoy.seams import NOTHING
from mesh.service import Protocol
from pb.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from pb.envoy.type.v3.percent_pb2 import FractionalPercent
from policies.fault_injection import EXAMPLE, FILTER, KIND
from tests.support.policy_documents import CALLER, accepted, added, of, on_route, refusals


def fault(fields: str) -> HTTPFault:
    return HTTPFault.FromString(on_route(added(KIND, fields, CALLER))[FILTER.name])


def test_a_delay_and_an_abort_with_their_shares() -> None:
    made = fault("{delay: {fixed: 1s500ms, percent: 0.5}, abort: {httpStatus: 503}}")
    assert made.delay.fixed_delay.ToMilliseconds() == 1500
    assert made.delay.percentage == FractionalPercent(numerator=5000, denominator=FractionalPercent.MILLION)
    assert made.abort.http_status == 503
    assert made.abort.percentage.numerator == 1_000_000
    assert not made.HasField("response_rate_limit")


def test_a_grpc_status_slow_answers_and_a_most() -> None:
    made = fault("{abort: {grpcStatus: 14}, responseRate: {kbps: 64, percent: 10}, maxActive: 7}")
    assert made.abort.grpc_status == 14
    assert made.response_rate_limit.fixed_limit.limit_kbps == 64
    assert made.max_active_faults.value == 7


def test_headers_are_told_by_presence_value_and_expression() -> None:
    headers = "[{name: X-Any}, {name: x-is, value: 'a'}, {name: x-like, regex: 'a.*'}]"
    any_, is_, like = fault(f"{{headers: {headers}, delay: {{fixed: 1s}}}}").headers
    assert (any_.name, any_.present_match) == ("x-any", True)
    assert is_.string_match.exact == "a"
    assert like.string_match.safe_regex.regex == "a.*"


@pytest.mark.parametrize("fields", ["{delay: {percent: 5}}", "{abort: {percent: 5}}", "{maxActive: 5}"])
def test_what_says_no_fault_makes_none(fields: str) -> None:
    assert added(KIND, fields, CALLER) == NOTHING


def test_tcp_has_no_requests() -> None:
    assert added(KIND, "{delay: {fixed: 1s}}", of(CALLER, Protocol.TCP)) == NOTHING


def test_two_policies_that_abort_differently_are_told_so() -> None:
    with pytest.raises(ValueError, match="both an HTTP and a gRPC status: keep one"):
        added(KIND, "{abort: {httpStatus: 500, grpcStatus: 14}}", CALLER)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "abort: {httpStatus: 503, grpcStatus: 14}",
            "spec.abort: a request cannot be answered with both an HTTP and a gRPC status. Keep httpStatus or grpcStatus",
        ),
        ("abort: {httpStatus: 99}", "spec.abort.httpStatus: 99 is too small. Use 200 or more"),
        (
            "delay: {fixed: 0s}",
            "spec.delay.fixed: 0s is no time at all. Use a duration above zero, or leave the field out",
        ),
        ("delay: {percent: 101}", "spec.delay.percent: 101 is too large. Use 100.0 or less"),
        ("delay: 5s", "spec.delay: '5s' is text. Give a mapping"),
        (
            "headers: [{name: 'x:y'}]",
            "spec.headers[0].name: 'x:y' is not the name of a header. Write it like x-user-id, without a colon",
        ),
        (
            "headers: [{name: x, value: a, regex: b}]",
            "spec.headers[0]: header x has both a value and a regex. Keep one of them",
        ),
        ("responseRate: {kbps: 0}", "spec.responseRate.kbps: 0 is too small. Use 1 or more"),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("FaultInjection", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
