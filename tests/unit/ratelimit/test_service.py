"""The service over real gRPC. What Redis may do to it is in `tests/faults/test_ratelimit_redis.py`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from pb.envoy.service.ratelimit.v3.rls_pb2_grpc import RateLimitServiceStub
from ratelimit.counters import Counters, MemoryCounters
from ratelimit.limits import Limit, Rules, Unit
from ratelimit.redis_counters import RedisCounters, RedisOptions
from ratelimit.service import Failure
from tests.support.ports import free_port
from tests.support.ratelimit_envoy import Seen, serving

RULES = Rules({("mesh", (("caller", None),)): Limit(2, Unit.HOUR)})
OK, OVER = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT


def a_request(domain: str = "mesh", hits: int = 0, **entries: str) -> RateLimitRequest:
    """One descriptor for each entry."""
    request = RateLimitRequest(domain=domain, hits_addend=hits)
    for key, value in entries.items():
        request.descriptors.add().entries.add(key=key, value=value)
    return request


@contextlib.asynccontextmanager
async def asking(
    counters: Counters, seen: Seen, failure: Failure = Failure.ALLOW
) -> AsyncIterator[RateLimitServiceStub]:
    async with (
        serving(counters, RULES, failure=failure, seen=seen) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield RateLimitServiceStub(channel)


async def test_one_limit_that_is_used_up_refuses_the_request() -> None:
    seen = Seen()
    async with asking(MemoryCounters(time.monotonic), seen) as service:
        answers = [await service.ShouldRateLimit(a_request(caller="web", path="/")) for _ in range(3)]
    assert [answer.overall_code for answer in answers] == [OK, OK, OVER]
    assert [[status.code for status in answer.statuses] for answer in answers] == [
        [OK, OK],
        [OK, OK],
        [OVER, OK],
    ]
    assert [answer.statuses[0].limit_remaining for answer in answers] == [1, 0, 0]
    assert not answers[0].statuses[1].HasField("current_limit")
    assert seen.outcomes == {"ok": 2, "over": 1}


async def test_hits_of_more_than_one() -> None:
    async with asking(MemoryCounters(time.monotonic), Seen()) as service:
        assert (await service.ShouldRateLimit(a_request(hits=2, caller="web"))).overall_code == OK
        assert (await service.ShouldRateLimit(a_request(hits=3, caller="api"))).overall_code == OVER


async def test_a_request_without_meaning_is_told_why() -> None:
    seen = Seen()
    async with asking(MemoryCounters(time.monotonic), seen) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.ShouldRateLimit(a_request(domain="", caller="web"))
        assert (await service.ShouldRateLimit(a_request())).overall_code == OK  # no descriptor, no limit
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "the request names no domain: set `domain` of the rate limit filter"
    assert seen.outcomes == {"invalid": 1, "ok": 1}


@pytest.mark.parametrize(("failure", "code"), [(Failure.ALLOW, OK), (Failure.DENY, OVER)])
async def test_counters_that_are_away(failure: Failure, code: int) -> None:
    seen = Seen()
    options = RedisOptions(f"redis://127.0.0.1:{free_port()}/0")
    async with RedisCounters(options, time.monotonic) as counters, asking(counters, seen, failure) as service:
        answer = await service.ShouldRateLimit(a_request(caller="web", path="/"))
        assert [answer.overall_code, *(status.code for status in answer.statuses)] == [code] * 3
        unlimited = await service.ShouldRateLimit(a_request(path="/"))
        assert unlimited.overall_code == OK  # what has no limit needs no counter
    assert seen.outcomes == {f"blind {failure.value}": 1, "ok": 1}
