"""Bounds for shares that chance decides: exact, so that a test that fails has found something."""

from __future__ import annotations

import math

CERTAIN = 1e-6
"""How often a right program may fail a test: once in a million runs."""


def bounds(share: float, n: int, p: float = CERTAIN) -> tuple[int, int]:
    """The fewest and the most successes of `n` independent tries with the chance `share` each, outside of which the count lies with
    a probability of at most `p` (half of it on each side): the binomial distribution, not an approximation.
    """
    if not 0.0 <= share <= 1.0 or n < 1:
        raise ValueError(f"not a share of something: {share} of {n}")
    if share in {0.0, 1.0}:
        return round(share * n), round(share * n)
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(n + 1)
    )
    chances = [math.exp(each) for each in logs]
    low, below = 0, 0.0
    while (below := below + chances[low]) <= p / 2:
        low += 1
    high, above = n, 0.0
    while (above := above + chances[high]) <= p / 2:
        high -= 1
    return low, high


def within(share: float, n: int, observed: int, p: float = CERTAIN) -> bool:
    """Whether `observed` of `n` is what the chance `share` explains. Only for choices that are independent of each other:
    random routes, faults, samples. Round robin does better.
    """
    low, high = bounds(share, n, p)
    return low <= observed <= high
