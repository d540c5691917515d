"""Both kinds of counters count alike, and what Redis keeps."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from ratelimit.counters import MemoryCounters
from ratelimit.limits import Draw
from ratelimit.redis_counters import RedisCounters, RedisOptions
from tests.support.processes import eventually
from tests.support.redis_server import redis_server


@pytest.mark.parametrize("seed", range(3))
async def test_redis_counts_as_memory_does(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    memory = MemoryCounters(lambda: 0.0)  # no window ends: an hour is long for either
    async with (
        redis_server(tmp_path) as server,
        RedisCounters(RedisOptions(server.url, timeout=1.0), time.monotonic) as redis,
    ):
        for _ in range(400):
            draws = [
                Draw(key, chance.choice([0, 1, 1, 1, 3]), {"a": 50, "b": 200, "c": 10**9, "d": 0}[key], 3600)
                for key in chance.choices(
                    "abcd", [20, 20, 20, 1], k=chance.randint(1, 3)
                )  # a key may come twice
            ]
            ours, theirs = await memory.add(draws), await redis.add(draws)
            assert [tally.used for tally in ours] == [tally.used for tally in theirs]
            assert all(3590 < tally.left <= 3600 for tally in theirs)


async def test_a_window_in_redis_ends_by_itself_and_leaves_nothing(tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        server.client() as inside,
        RedisCounters(RedisOptions(server.url, timeout=1.0), time.monotonic) as redis,
    ):
        draw = Draw("a", 1, 2, 1)
        assert [(await redis.add([draw]))[0].used for _ in range(4)] == [0, 1, 2, 2]
        assert await inside.keys() == [b"meshwright:ratelimit:a"]
        assert (await redis.add([draw]))[0].left <= 1

        async def gone() -> bool:
            return await inside.dbsize() == 0

        await eventually(gone, "the window ends")
        await redis.add([Draw("a", 0, 2, 1)])
        assert await gone()  # asking opens none
        assert (await redis.add([draw]))[0].used == 0


async def test_a_counter_that_lost_its_end_gets_one(tmp_path: Path) -> None:
    """Somebody's PERSIST, or a copy without it: else a limit would be used up for ever."""
    async with (
        redis_server(tmp_path) as server,
        server.client() as inside,
        RedisCounters(RedisOptions(server.url, timeout=1.0), time.monotonic) as redis,
    ):
        await inside.set("meshwright:ratelimit:a", 7)
        assert (await redis.add([Draw("a", 1, 5, 60)]))[0].used == 7
        assert 0 < await inside.ttl("meshwright:ratelimit:a") <= 60


async def test_many_at_once_on_few_connections(tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        server.client() as inside,
        RedisCounters(RedisOptions(server.url, timeout=10.0, connections=4), time.monotonic) as redis,
    ):
        tallies = await asyncio.gather(*(redis.add([Draw("a", 1, 500, 60)]) for _ in range(1000)))
        assert sum(tally.used < 500 for (tally,) in tallies) == 500
        assert len(await inside.client_list()) <= 5
