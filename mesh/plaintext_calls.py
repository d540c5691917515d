"""Who called what without mesh TLS, lately: counted in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.names import Key

CALLERS = 500
"""Of one port, that are remembered: the one silent for longest leaves first."""

IN_ALL = 5000
"""Callers of all ports together: what is told of them is copied at once."""

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
    """Remembers `CALLERS` for each port of the mesh at most, and `IN_ALL`. `since` is when it began to, `crowded_out` how many had to leave."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[Place, OrderedDict[tuple[str, Spoken], _Seen]] = {}
        # The one silent for longest first.
        self._order: OrderedDict[tuple[Place, str, Spoken], None] = OrderedDict()
        self.since = clock()
        self.crowded_out = 0

    def record(self, place: Place, address: str, spoken: Spoken, count: int = 1) -> None:
        """`count` 0 says that a call seen before goes on."""
        now, key = self._clock(), (address, spoken)
        callers = self._seen.setdefault(place, OrderedDict())
        seen = callers.get(key)
        if seen is not None:
            seen.count += count
            seen.last = now
            callers.move_to_end(key)
            self._order.move_to_end((place, *key))
            return
        callers[key] = _Seen(count, now, now)
        self._order[place, *key] = None
        if len(callers) > CALLERS:
            self._forget(place, *next(iter(callers)))
            self.crowded_out += 1
        elif len(self._order) > IN_ALL:
            self._forget(*next(iter(self._order)))
            self.crowded_out += 1

    def calls(self, within: float = FORGOTTEN_AFTER) -> Iterator[Call]:
        """Those of the last `within` seconds, by place and the latest first. What is history is forgotten."""
        now = self._clock()
        while self._order:
            place, address, spoken = next(iter(self._order))
            if now - self._seen[place][address, spoken].last <= FORGOTTEN_AFTER:
                break
            self._forget(place, address, spoken)
        for place in sorted(self._seen):
            for (address, spoken), seen in reversed(self._seen[place].items()):
                if now - seen.last > within:
                    break
                yield Call(place, address, spoken, seen.count, seen.first, seen.last)

    def _forget(self, place: Place, address: str, spoken: Spoken) -> None:
        del self._order[place, address, spoken]
        callers = self._seen[place]
        del callers[address, spoken]
        if not callers:
            del self._seen[place]
