"""How often one and the same is told: whoever is refused a thousand times a second must fill neither the log nor the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ca.rate_limit import Bucket, Rate
from ca.recent import Recent

REMEMBERED: Final = 4096


class Flood:
    """A token bucket for each teller, in bounded memory. What is counted elsewhere as well may be left out here."""

    def __init__(self, monotonic: Callable[[], float], rate: Rate) -> None:
        self._monotonic = monotonic
        self._rate = rate
        self._buckets: Recent[str, tuple[Bucket, int]] = Recent(REMEMBERED)

    def told(self, who: str) -> int | None:
        """None if this is not to be told; else how many of `who` were not, since the last one that was."""
        now = self._monotonic()
        bucket, left_out = self._buckets.get(who) or (Bucket(self._rate, now), 0)
        tells = bucket.left(now) >= 1
        if tells:
            bucket.take()
        self._buckets.put(who, (bucket, 0 if tells else left_out + 1))
        return left_out if tells else None
