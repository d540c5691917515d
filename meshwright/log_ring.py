"""The last lines of our own log, kept in memory for whoever asks through the API: `meshwright logs control-plane`.

What the log may not hold, secrets, is not here either: the ring is given the very same events.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import deque
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SIZE = 5_000
"""Lines: some megabytes."""
LEVELS = ("debug", "info", "warning", "error", "critical")
TEXT, MEMBERS = 2_000, 50
"""Characters of a field that are kept, and members of a list."""
_NOT_FIELDS = frozenset({"event", "level", "timestamp", "exc_info", "stack_info"})


@dataclass(frozen=True, slots=True)
class Logged:
    """One line. `number` grows by one from 1; `fields` are plain text or numbers."""

    number: int
    at: datetime
    level: str
    event: str
    fields: dict[str, Any]


class LogRing:
    """A processor of structlog, which passes every event on as it is. Any thread may log."""

    def __init__(self, size: int = SIZE) -> None:
        self._lines: deque[Logged] = deque(maxlen=size)
        self._numbers = itertools.count(1)

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        fields = {name: _plain(value) for name, value in event.items() if name not in _NOT_FIELDS}
        if event.get("exc_info"):
            fields["exception"] = _exception(event["exc_info"])
        at = event.get("timestamp")
        self._lines.append(
            Logged(
                next(self._numbers),
                datetime.fromisoformat(at) if isinstance(at, str) else datetime.now(UTC),
                str(event.get("level", "info")),
                _plain(event.get("event", "")),
                fields,
            )
        )
        return event

    def lines(self, count: int, *, after: int = 0, level: str = "debug") -> list[Logged]:
        """The newest `count` of those of `level` and above that came after the line of that number, the oldest first."""
        least = LEVELS.index(level)
        found = [
            each
            for each in self._lines.copy()
            if each.number > after and (each.level not in LEVELS or LEVELS.index(each.level) >= least)
        ]
        return found[-count:]

    @property
    def last(self) -> int:
        """The number of the newest line; 0 if there is none."""
        return self._lines[-1].number if self._lines else 0


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int) or value is None or (isinstance(value, float) and math.isfinite(value)):
        return value  # JSON knows no other numbers
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value[:MEMBERS]]
    return str(value)[:TEXT]


def _exception(said: Any) -> str:
    """Its kind alone. Its words may hold a secret that nobody foresaw, and every editor reads the ring: they are in the log itself."""
    error = (
        said if isinstance(said, BaseException) else said[1] if isinstance(said, tuple) else sys.exc_info()[1]
    )
    return type(error).__name__ if error is not None else ""
