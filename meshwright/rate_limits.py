"""The limits that the whole mesh shares: counted here, said by RateLimit policies, which send them along with each question."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from meshwright.errors import SettingsError
from meshwright.metrics import Metrics
from policies.rate_limit_messages import LIMIT_KEY
from ratelimit.counters import MemoryCounters
from ratelimit.errors import InvalidLimit, InvalidRedis
from ratelimit.limits import Limit, Rules, Unit
from ratelimit.redis_counters import RedisCounters, RedisOptions
from ratelimit.service import Failure, Gate, RateLimits

PATIENCE = 0.25
"""Seconds that Redis gets. How long a request waits is its policy's `timeout`, and its own proxy sees to that."""
EVERY = 10.0
"""Seconds between two warnings of the same: under load there would be thousands."""

log = structlog.get_logger(__name__)


class CarriedLimits(Rules):
    """Finds a limit in the descriptor itself, in the entry that a RateLimit policy adds, as `<requests>/<unit>`."""

    def find(self, domain: str, entries: Sequence[tuple[str, str]]) -> Limit | None:
        said = next((value for key, value in entries if key == LIMIT_KEY), None)
        if said is None:
            return super().find(domain, entries)
        requests, _, unit = said.partition("/")
        try:
            return Limit(int(requests), Unit[unit.upper()])
        except (KeyError, ValueError, InvalidLimit):
            # A proxy of a later version, perhaps. What is not understood limits nothing.
            return None


@dataclass(slots=True)
class LimitObserver:
    """Counts what is answered, and logs now and then that nothing can be counted. See `ratelimit.service.Observer`."""

    metrics: Metrics
    clock: Callable[[], float]
    _next: dict[str, float] = field(default_factory=dict)

    def answered(self, domain: str, *, over: bool) -> None:
        del domain
        self.metrics.limits.labels("over" if over else "ok").inc()

    def blind(self, domain: str, failure: Failure, reason: str) -> None:
        del domain, failure
        self.metrics.limits.labels("not-counted").inc()
        self._tell("requests are not counted: each RateLimit's `failure` holds", reason)

    def invalid(self, domain: str, reason: str) -> None:
        del domain
        self.metrics.limits.labels("invalid").inc()
        self._tell("a proxy asked for a limit without meaning", reason)

    def _tell(self, what: str, reason: str) -> None:
        now = self.clock()
        if now >= self._next.get(what, now):
            self._next[what] = now + EVERY
            log.warning(what, reason=reason)


@contextlib.asynccontextmanager
async def rate_limits(
    redis_url: str | None, metrics: Metrics, clock: Callable[[], float], gate: Gate
) -> AsyncIterator[RateLimits]:
    """The service, with its counters in Redis or, without one, in this process. SettingsError if the address makes no sense."""
    observer, rules = LimitObserver(metrics, clock), CarriedLimits()
    if redis_url is None:
        yield RateLimits(MemoryCounters(clock), observer, rules=rules, failure=Failure.PROXY, gate=gate)
        return
    try:
        counters = RedisCounters(RedisOptions(redis_url, timeout=PATIENCE), clock)
    except InvalidRedis as error:
        raise SettingsError(f"setting ratelimit_redis (--ratelimit-redis): {error}") from error
    async with counters:
        yield RateLimits(counters, observer, rules=rules, failure=Failure.PROXY, gate=gate)
