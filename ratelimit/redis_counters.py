"""Counters in Redis, which all replicas of the control plane share.

One round trip a request: a script looks at all keys and adds to them in one step, so that however many replicas ask at once,
no window lets more through than its limit. Windows are the expiry times of Redis' own keys: the clocks of the replicas
play no part. One Redis (or its primary): the keys of a request need not lie together in a cluster's slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ratelimit.breaker import Breaker
from ratelimit.errors import CountersAway, InvalidRedis
from ratelimit.limits import Draw, Tally

LONG = 0.2
"""The share of the time-out after which waiting was in vain though the caller ended it. An answer takes a hundredth."""

SCRIPT = """
-- ARGV: hits, limit, window in ms, for each of KEYS. Returns hits before and ms until the end, for each of KEYS.
local full = false
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[3 * i - 1]) then full = true end
end
local tallies = {}
for i, key in ipairs(KEYS) do
  local hits, window = ARGV[3 * i - 2], tonumber(ARGV[3 * i])
  local used
  if full or hits == '0' then
    used = tonumber(redis.call('GET', key) or '0')
  else
    used = redis.call('INCRBY', key, hits) - tonumber(hits)
  end
  local left = redis.call('PTTL', key)
  if left == -1 then redis.call('PEXPIRE', key, window) end
  if left < 0 then left = window end
  tallies[2 * i - 1], tallies[2 * i] = used, left
end
return tallies
"""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How to reach Redis. `url` is `redis://[user:password@]host:port/db` (`rediss://` for TLS, `unix://` for a socket),
    as in https://redis.readthedocs.io/en/stable/connections.html; it is never shown, for it may hold a password.

    `timeout` is in seconds, for all that one request needs. `connections` is how many are held at most: few suffice,
    for an answer takes a fraction of a millisecond. `pause` is how long a Redis that is away is left alone between two tries.
    """

    url: str = field(repr=False)
    timeout: float = 0.05
    prefix: str = "meshwright:ratelimit:"
    connections: int = 8
    pause: float = 0.5


class RedisCounters(AbstractAsyncContextManager["RedisCounters"]):
    """See `Counters`. Connects when it is first asked, and again by itself; leaving it closes the connections.

    `clock` gives seconds that never go back (`time.monotonic`). After three failures in a row (a time-out, a refused
    connection, a wrong password …) Redis counts as away: CountersAway is raised at once, but for one request each `pause`,
    which tries.
    """

    def __init__(self, options: RedisOptions, clock: Callable[[], float]) -> None:
        """Raises InvalidRedis."""
        self._options = options
        self._clock = clock
        self._breaker = Breaker(pause=options.pause)
        self._redis = Redis.from_pool(_pool(options))
        self._script = self._redis.register_script(SCRIPT)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    @property
    def away(self) -> bool:
        """Whether Redis counts as away, so that requests are answered without it."""
        return self._breaker.open

    async def add(self, draws: Sequence[Draw], /) -> list[Tally]:
        if not draws:
            return []
        if not self._breaker.admits(self._clock()):
            raise CountersAway("Redis did not answer lately, and it is not yet time to try again")
        keys = [self._options.prefix + draw.key for draw in draws]
        arguments = [part for draw in draws for part in (draw.hits, draw.limit, draw.window * 1000)]
        began = self._clock()
        try:
            async with asyncio.timeout(self._options.timeout):
                said = await self._script(keys, arguments)
        except asyncio.CancelledError:
            # The proxy gave up: after 20 ms by its default, so that a Redis that is away would never be seen to be.
            if self._clock() - began >= self._options.timeout * LONG:
                self._breaker.failed(self._clock())
            raise
        except TimeoutError as error:
            raise self._failed(
                f"Redis did not answer within {self._options.timeout * 1000:.0f} ms"
            ) from error
        except (RedisError, OSError) as error:
            raise self._failed(f"Redis: {type(error).__name__}: {error}") from error
        self._breaker.succeeded()
        return [Tally(used, left / 1000) for used, left in zip(said[::2], said[1::2], strict=True)]

    def _failed(self, what: str) -> CountersAway:
        self._breaker.failed(self._clock())
        return CountersAway(what)


def _pool(options: RedisOptions) -> BlockingConnectionPool:
    """A connection is made new once if Redis closed it while it lay idle; what is refused then is refused.

    The client's own time-outs of reading, writing and waiting for a connection are off, for `add` bounds the whole; and with one
    of its own it writes within `asyncio.wait_for`, which on Python 3.11 loses a cancellation that comes as it ends.
    """
    try:
        return BlockingConnectionPool.from_url(
            options.url,
            max_connections=options.connections,
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=options.timeout,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            protocol=2,  # a connection is ready without asking anything first
            driver_info=None,
        )
    except ValueError:
        # Without its cause: what could not be read may be a part of the password.
        raise InvalidRedis(
            "the address of Redis cannot be read: give redis://[user:password@]host:port/db, "
            "with the characters : / @ of a password written as %3A %2F %40"
        ) from None
