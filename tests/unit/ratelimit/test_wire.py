from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import UInt64Value

from pb.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from pb.envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from ratelimit import wire
from ratelimit.errors import InvalidRequest
from ratelimit.limits import Descriptor, Limit, Status, Unit


def a_message(**fields: object) -> RateLimitDescriptor:
    message = RateLimitDescriptor(**fields)  # type: ignore[arg-type]
    message.entries.add(key="caller", value="web")
    return message


def test_a_request_read() -> None:
    override = RateLimitDescriptor.RateLimitOverride(requests_per_unit=7, unit=RateLimitUnit.HOUR)
    request = RateLimitRequest(
        domain="api",
        hits_addend=5,
        descriptors=[
            a_message(),
            a_message(hits_addend=UInt64Value(value=0)),
            a_message(hits_addend=UInt64Value(value=2**63)),
            a_message(limit=override),
        ],
    )
    web = (("caller", "web"),)
    assert wire.descriptors(request) == (
        Descriptor(web, 5),
        Descriptor(web, 0),  # the descriptor's own hits go before the request's, and none is a number too
        Descriptor(web, 2**32 - 1),
        Descriptor(web, 5, Limit(7, Unit.HOUR)),
    )


def test_no_hits_in_a_request_are_one() -> None:
    assert wire.descriptors(RateLimitRequest(domain="api", descriptors=[a_message()]))[0].hits == 1


@pytest.mark.parametrize("unit", list(Unit))
def test_each_unit_there_and_back(unit: Unit) -> None:
    override = RateLimitDescriptor.RateLimitOverride(requests_per_unit=7, unit=RateLimitUnit.Value(unit.name))
    request = RateLimitRequest(domain="api", descriptors=[a_message(limit=override)])
    (read,) = wire.descriptors(request)
    status = wire.response([Status(limit=read.override)]).statuses[0]
    assert status.current_limit == RateLimitResponse.RateLimit(
        requests_per_unit=7, unit=RateLimitResponse.RateLimit.Unit.Value(unit.name)
    )


def test_the_units_of_envoy_are_ours() -> None:
    assert {unit.name for unit in Unit} | {"UNKNOWN"} == set(RateLimitUnit.keys())


def test_what_has_no_meaning_is_said_without_a_value() -> None:
    with pytest.raises(InvalidRequest, match="names no domain: set `domain` of the rate limit filter"):
        wire.descriptors(RateLimitRequest(descriptors=[a_message()]))
    with pytest.raises(InvalidRequest, match="the request has 65 descriptors: 64 are the most"):
        wire.descriptors(RateLimitRequest(domain="api", descriptors=[a_message()] * 65))
    override = RateLimitDescriptor.RateLimitOverride(requests_per_unit=7)
    with pytest.raises(InvalidRequest) as caught:
        wire.descriptors(RateLimitRequest(domain="api", descriptors=[a_message(limit=override)]))
    assert str(caught.value) == (
        "the limit of descriptor (caller) has no known unit (0): "
        "give one of SECOND, MINUTE, HOUR, DAY, MONTH, YEAR"
    )


def test_an_answer_written() -> None:
    answer = wire.response([Status(), Status(over=True, limit=Limit(3, Unit.MINUTE), remaining=0, reset=12)])
    assert answer.overall_code == RateLimitResponse.OVER_LIMIT
    unlimited, over = answer.statuses
    assert unlimited.code == RateLimitResponse.OK
    assert not unlimited.HasField("current_limit")
    assert over.code == RateLimitResponse.OVER_LIMIT
    assert (over.limit_remaining, over.duration_until_reset.seconds) == (0, 12)
    assert wire.response([]).overall_code == wire.response([Status()]).overall_code == RateLimitResponse.OK


@pytest.mark.parametrize("allow", [True, False])
def test_the_answer_when_nothing_could_be_counted(allow: bool) -> None:
    answer = wire.blind(2, allow=allow)
    code = RateLimitResponse.OK if allow else RateLimitResponse.OVER_LIMIT
    assert [answer.overall_code, *(status.code for status in answer.statuses)] == [code] * 3
    assert not any(status.HasField("current_limit") for status in answer.statuses)
