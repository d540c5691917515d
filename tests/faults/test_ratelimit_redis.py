"""Redis freezes, dies, comes back or refuses: no request waits for it, and each gets what `failure` says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc.aio
import pytest

from pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from pb.envoy.service.ratelimit.v3.rls_pb2_grpc import RateLimitServiceStub
from ratelimit.errors import CountersAway
from ratelimit.limits import Draw, Limit, Rules, Unit
from ratelimit.redis_counters import RedisCounters, RedisOptions
from ratelimit.service import Failure
from tests.support.ports import free_port
from tests.support.processes import eventually
from tests.support.ratelimit_envoy import Seen, limited_envoy, serving
from tests.support.redis_server import RedisServer, redis_server

LIMIT = 10**6
RULES = Rules({("mesh", (("caller", None),)): Limit(LIMIT, Unit.HOUR)})
LONGEST = 0.1
"""Seconds that a call may take, whatever Redis does."""


class Caller:
    """Asks the service over gRPC, and keeps how long each call took."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = RateLimitServiceStub(channel)
        self._request = RateLimitRequest(domain="mesh")
        self._request.descriptors.add().entries.add(key="caller", value="web")
        self.took: list[float] = []
        self.lag = 0.0
        """The longest that this process itself was late, which is the machine's fault."""

    async def ask(self, patience: float = 10.0) -> RateLimitResponse:
        began = time.perf_counter()
        answer = await self._stub.ShouldRateLimit(self._request, timeout=patience)
        self.took.append(time.perf_counter() - began)
        return answer

    async def flood(self, seconds: float, tasks: int = 20) -> Counter[int]:
        """Many at once, for so long; how often which code was answered."""
        end = time.monotonic() + seconds
        codes: Counter[int] = Counter()

        async def one() -> None:
            while time.monotonic() < end:
                answer = await self.ask()
                codes[answer.overall_code] += 1
                await asyncio.sleep(
                    0.005
                )  # a caller's own pace: else this process is too busy to measure anything

        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(one())
            group.create_task(self._watch_lag(end))
        return codes

    async def _watch_lag(self, end: float) -> None:
        while time.monotonic() < end:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            self.lag = max(self.lag, time.perf_counter() - began - 0.005)

    async def counted(self) -> bool:
        answer = await self.ask()
        return answer.statuses[0].HasField("current_limit")

    def check_none_waited(self) -> None:
        print(
            f"\n{len(self.took)} calls, the longest {max(self.took) * 1000:.1f} ms, lag {self.lag * 1000:.1f} ms"
        )
        assert max(self.took) < LONGEST + self.lag


@contextlib.asynccontextmanager
async def asking(redis: RedisServer, failure: Failure, seen: Seen) -> AsyncIterator[Caller]:
    async with (
        RedisCounters(RedisOptions(redis.url), time.monotonic) as counters,
        serving(counters, RULES, failure=failure, seen=seen) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        caller = Caller(channel)
        await eventually(caller.counted, "the first connection to Redis")
        caller.took.clear()  # the first one makes the gRPC connection too
        yield caller


async def test_a_frozen_redis_keeps_nobody_waiting_and_what_can_not_be_counted_passes(tmp_path: Path) -> None:
    seen = Seen()
    async with redis_server(tmp_path) as redis, asking(redis, Failure.ALLOW, seen) as caller:
        redis.freeze()
        assert set(await caller.flood(1.5)) == {RateLimitResponse.OK}
        # Those in flight when it froze, and the tries, one each half second, asked it in vain; the others did not.
        in_vain = sum("did not answer within 50 ms" in reason for reason in seen.reasons)
        assert 0 < in_vain < 40 < seen.outcomes["blind allow"]
        caller.check_none_waited()
        redis.thaw()
        await eventually(caller.counted, "counting again")

        async def all_are_counted() -> bool:
            before = seen.outcomes["blind allow"]
            await caller.flood(0.3)
            return seen.outcomes["blind allow"] == before

        # On a busy machine an answer of Redis may take 50 ms now and then.
        await eventually(all_are_counted, "no request goes uncounted")
        caller.check_none_waited()


async def test_proxies_that_give_up_sooner_than_we_do_are_spared_too(tmp_path: Path) -> None:
    """Envoy's rate limit filter waits 20 ms by default, less than our time-out."""
    seen = Seen()
    async with redis_server(tmp_path) as redis, asking(redis, Failure.ALLOW, seen) as caller:
        redis.freeze()
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await caller.ask(patience=0.02)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(_more_than(seen, "blind allow", 0, caller), "an answer without Redis")


async def test_requests_through_a_real_envoy_do_not_hang(tmp_path: Path) -> None:
    """From the client's side: 200 all along, and none of them late."""
    took: list[float] = []
    async with (
        redis_server(tmp_path) as redis,
        RedisCounters(RedisOptions(redis.url), time.monotonic) as counters,
        serving(counters, RULES, failure=Failure.ALLOW) as service,
        limited_envoy(tmp_path, "proxy", service) as port,
        aiohttp.ClientSession() as session,
    ):

        async def limited() -> bool:
            began = time.perf_counter()
            async with session.get(f"http://127.0.0.1:{port}/caller", headers={"x-caller": "web"}) as answer:
                took.append(time.perf_counter() - began)
                assert answer.status == 200
                return "x-ratelimit-limit" in answer.headers

        await eventually(limited, "a limit")
        took.clear()
        redis.freeze()
        assert not any([await limited() for _ in range(200)])
        redis.thaw()
        await eventually(limited, "a limit again")
    print(f"\n{len(took)} requests, the longest {max(took) * 1000:.1f} ms")
    assert max(took) < LONGEST * 2  # three hops and a shared machine


async def test_a_killed_redis_keeps_nobody_waiting_and_may_mean_no(tmp_path: Path) -> None:
    seen = Seen()
    async with redis_server(tmp_path) as redis, asking(redis, Failure.DENY, seen) as caller:
        flood = asyncio.create_task(caller.flood(1.2))
        await eventually(_more_than(seen, "ok", 20), "traffic")
        await redis.kill()
        codes = await flood
        assert codes[RateLimitResponse.OVER_LIMIT] > 0
        assert seen.outcomes["blind deny"] == codes[RateLimitResponse.OVER_LIMIT]
        assert set(await caller.flood(0.2)) == {RateLimitResponse.OVER_LIMIT}
        caller.check_none_waited()
        await redis.start()
        await eventually(caller.counted, "counting again")
        assert set(await caller.flood(0.3)) == {RateLimitResponse.OK}
        caller.check_none_waited()


def _more_than(
    seen: Seen, outcome: str, number: int, caller: Caller | None = None
) -> Callable[[], Awaitable[bool]]:
    async def question() -> bool:
        if caller is not None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await caller.ask(patience=0.02)
        return seen.outcomes[outcome] > number

    return question


async def test_a_redis_that_was_new_started_meanwhile_is_not_noticed(tmp_path: Path) -> None:
    seen = Seen()
    async with redis_server(tmp_path) as redis, asking(redis, Failure.DENY, seen) as caller:
        await redis.kill()
        await redis.start()
        assert await caller.counted()
        assert seen.outcomes["blind deny"] == 0


async def test_where_no_redis_ever_was() -> None:
    options = RedisOptions(f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    async with RedisCounters(options, time.monotonic) as counters:
        for _ in range(3):
            with pytest.raises(CountersAway, match="Redis: ConnectionError: "):
                await counters.add([Draw("a", 1, 10, 60)])
        assert counters.away
        with pytest.raises(CountersAway, match="not yet time to try again"):
            await counters.add([Draw("a", 1, 10, 60)])


async def test_a_wrong_password_is_said_and_never_shown(tmp_path: Path) -> None:
    draw = Draw("a", 1, 10, 60)
    async with redis_server(tmp_path, password="correct-horse") as redis:
        async with RedisCounters(RedisOptions(redis.url), time.monotonic) as counters:
            assert (await counters.add([draw]))[0].used == 0
        for wrong in ("hunter2", ""):
            options = RedisOptions(redis.url.replace("correct-horse", wrong))
            async with RedisCounters(options, time.monotonic) as counters:
                with pytest.raises(CountersAway, match="Redis: Authentication") as caught:
                    await counters.add([draw])
            shown = f"{caught.value!r} {caught.value.__cause__!r} {options!r}"
            assert "correct-horse" not in shown
            assert "hunter2" not in shown
