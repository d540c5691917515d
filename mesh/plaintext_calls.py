"""Who called what without mesh TLS, lately: counted in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.names import Key

CALLERS = 500
"""Of one port, that are remembered: the one silent for longest leaves first."""

FORGOTTEN_AFTER = 7 * 24 * 3600.0
"""Seconds after which a call is history."""


class Spoken(StrEnum):
    """`TLS` is the application's own."""

    HTTP = "http"
    TCP = "tcp"
    TLS = "tls"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A port of a service, by the number that callers know."""

    service: Key
    port: int


@dataclass(frozen=True, slots=True)
class Call:
    """`count` requests or connections from one address to one port; `first` and `last` are seconds of the clock."""

    place: Place
    address: str
    spoken: Spoken
    count: int
    first: float
    last: float


@dataclass(slots=True)
class _Seen:
    count: int
    first: float
    last: float


class PlaintextCalls:
    """Remembers `CALLERS` for each port of the mesh at most. `since` is when it began to, `crowded_out` how many had to leave."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[Place, OrderedDict[tuple[str, Spoken], _Seen]] = {}
        self.since = clock()
        self.crowded_out = 0

    def record(self, place: Place, address: str, spoken: Spoken, count: int = 1) -> None:
        """`count` 0 says that a call seen before goes on."""
        now, key = self._clock(), (address, spoken)
        callers = self._seen.setdefault(place, OrderedDict())
        seen = callers.get(key)
        if seen is None:
            callers[key] = _Seen(count, now, now)
            if len(callers) > CALLERS:
                callers.popitem(last=False)
                self.crowded_out += 1
            return
        seen.count += count
        seen.last = now
        callers.move_to_end(key)

    def calls(self, within: float = FORGOTTEN_AFTER) -> Iterator[Call]:
        """Those of the last `within` seconds, by place and the latest first. What is history is forgotten."""
        now = self._clock()
        for place in sorted(self._seen):
            callers = self._seen[place]
            while callers and now - next(iter(callers.values())).last > FORGOTTEN_AFTER:
                callers.popitem(last=False)
            if not callers:
                del self._seen[place]
                continue
            for (address, spoken), seen in reversed(callers.items()):
                if now - seen.last > within:
                    break
                yield Call(place, address, spoken, seen.count, seen.first, seen.last)
