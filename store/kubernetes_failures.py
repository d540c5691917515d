"""Which kinds of a cluster cannot be read, and why, in words that a person reads: mostly all of them fail at once, for one reason. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

PACE: Final = 3.0
"""Seconds between two tellings of what fails while something fails: each kind breaks, and is read again, in a moment of its own."""
NAMED: Final = 5
"""Of so many other kinds the names are told; of more, how many they are."""


class Failures:
    """`clock` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._reasons: dict[str, str] = {}
        self._told = ""
        self._since = clock()

    def put(self, kind: str, reason: str) -> None:
        self._reasons[kind] = reason

    def drop(self, kind: str) -> None:
        """It can be read again."""
        self._reasons.pop(kind, None)

    def clear(self) -> None:
        """Nothing fails, and nothing was told."""
        self._reasons.clear()
        self._told = ""

    @property
    def text(self) -> str:
        """What is wrong now: the reason of the first kind by name, and which others fail too. Empty if nothing is."""
        if not self._reasons:
            return ""
        first, *others = sorted(self._reasons)
        if not others:
            return self._reasons[first]
        which = ", ".join(others) if len(others) <= NAMED else f"{len(others)} other kinds"
        return f"{self._reasons[first]}; nor can {which} be read"

    def tell(self) -> str:
        """What to tell: that something is wrong, and that nothing is any more, at once; what else is wrong, after a while."""
        text = self.text
        now = self._clock()
        if text and self._told and now - self._since < PACE:
            return self._told
        if text != self._told:
            self._told, self._since = text, now
        return text

    @property
    def pause(self) -> float | None:
        """Seconds until `tell` says something else than before; None if all is told."""
        if self.text == self._told:
            return None
        return max(0.0, self._since + PACE - self._clock()) if self._told and self._reasons else 0.0
