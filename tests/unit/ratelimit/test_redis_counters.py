"""What needs no Redis; the rest is in `tests/feature/test_ratelimit_service.py` and `tests/faults/test_ratelimit_redis.py`."""

from __future__ import annotations

import time
import traceback

import pytest

from ratelimit.errors import InvalidRedis
from ratelimit.redis_counters import RedisCounters, RedisOptions


@pytest.mark.parametrize(
    "url",
    ["redis://:hunt/er2@localhost:6379/0", "http://:hunter2@localhost/", "redis://:hunter2@localhost:port/"],
)
def test_an_address_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidRedis, match="give redis://") as caught:
        RedisCounters(RedisOptions(url), time.monotonic)
    chain = traceback.TracebackException.from_exception(caught.value).format_exception_only()
    shown = "".join(chain) + repr(RedisOptions(url))
    assert caught.value.__suppress_context__
    assert "hunt" not in shown


async def test_nothing_to_count_asks_nobody() -> None:
    async with RedisCounters(RedisOptions("redis://127.0.0.1:1/0"), time.monotonic) as counters:
        assert await counters.add([]) == []
        assert not counters.away
