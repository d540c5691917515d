"""Clocks, and when a certificate is renewed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Aware and in UTC, as `datetime.now(UTC)`.
Clock = Callable[[], datetime]
# In [0, 1), as `random.random`.
Chance = Callable[[], float]

RENEWAL_JITTER = 0.1
"""Renewals spread over this part of the life, on either side of its half: proxies that joined together do not renew together."""


def system_clock() -> datetime:
    return datetime.now(UTC)


def renewal_time(issued: datetime, not_after: datetime, chance: float) -> datetime:
    """When to renew what was issued at `issued` and ends at `not_after`: at half of its life, give or take 10 % of the life.

    `chance` is in [0, 1).
    """
    life: timedelta = not_after - issued
    return issued + life * (0.5 + RENEWAL_JITTER * (2 * chance - 1))
