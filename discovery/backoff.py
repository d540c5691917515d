"""Exponential back-off with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """`next()` gives the seconds to wait before the next attempt: each is drawn from [cap / 2, cap), and cap doubles.

    `random` yields floats in [0, 1), as `random.Random().random` does. `reset()` after a success. The lower half is
    left out so that a source which fails at once never spins.
    """

    def __init__(self, random: Callable[[], float], *, first: float = 0.2, longest: float = 15.0) -> None:
        self._random = random
        self._first = first
        self._longest = longest
        self._cap = first

    def next(self) -> float:
        cap = self._cap
        self._cap = min(self._longest, cap * 2)
        return cap * (0.5 + self._random() / 2)

    def reset(self) -> None:
        self._cap = self._first
