"""How long to wait before another try."""

from __future__ import annotations

from ca.times import Chance


class Backoff:
    """Doubling delays with jitter: try n waits between a half and the whole of `first` times 2^n, at most `maximum` seconds."""

    def __init__(self, chance: Chance, first: float = 0.5, maximum: float = 30.0) -> None:
        self._chance = chance
        self._first = first
        self._maximum = maximum
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait now."""
        delay = min(self._maximum, self._first * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return delay * (0.5 + self._chance() / 2)

    def reset(self) -> None:
        """The last try worked."""
        self._tries = 0
