"""When to stop asking a store that does not answer. No I/O; the caller says what time it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Open after `failures` in a row; then one caller each `pause` seconds may try, until one of them succeeds.

    Times are seconds of any clock that never goes back. A try whose caller went away says nothing of the store: the next one
    comes after the pause as ever.
    """

    failures: int = 3
    pause: float = 0.5
    _in_a_row: int = 0
    _next_try: float = 0.0

    @property
    def open(self) -> bool:
        return self._in_a_row >= self.failures

    def admits(self, now: float) -> bool:
        """Whether to ask. While open, saying yes takes the one try of this pause."""
        if not self.open:
            return True
        if now < self._next_try:
            return False
        self._next_try = now + self.pause
        return True

    def succeeded(self) -> None:
        self._in_a_row = 0

    def failed(self, now: float) -> None:
        self._in_a_row += 1
        self._next_try = now + self.pause
