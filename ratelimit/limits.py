"""Which limit holds for a descriptor, and what the counters' values mean for the request. No I/O, no clock.

**The window.** Limits are fixed windows: one opens with the first hit of a key and lasts one unit, in which `requests`
hits are let through, exactly, whichever proxies they come through. Of a steady flood no more than `requests` a unit passes.
The price is the one that every fixed window has: who waits until the end of a window can send its rest and then the whole of the
next one, twice the limit at most within one unit. A sliding window would avoid that, but could not say truthfully what the
headers of the client promise: how much is left, and when all of it is back.

**What counts.** A request that meets a used up limit is refused and uses up nothing, neither of that limit nor of the others
it was held against: who hammers on past the limit of his own does not use up the one that all callers share. A request of
several hits which is more than what is left is refused too, but its hits are counted: a proxy also reports costs that it has
already spent (`apply_on_stream_done`), and these must not be lost.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from ratelimit.errors import InvalidLimit

MOST_REQUESTS = 2**32 - 1
"""Envoy's messages hold the requests of a limit, and those that remain, as uint32."""


class Unit(Enum):
    """Envoy's RateLimitUnit by name, in seconds; a month has 30 days and a year 365, as in Envoy's own headers."""

    SECOND = 1
    MINUTE = 60
    HOUR = 3_600
    DAY = 86_400
    MONTH = 2_592_000
    YEAR = 31_536_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `requests` hits in a window of one `unit`; 0 lets nothing through.

    Raises InvalidLimit.
    """

    requests: int
    unit: Unit

    def __post_init__(self) -> None:
        if not 0 <= self.requests <= MOST_REQUESTS:
            raise InvalidLimit(
                f"a limit of {self.requests} requests: give a number from 0 to {MOST_REQUESTS}"
            )


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What Envoy says of a request, to be held against one limit.

    `entries` are (key, value) pairs in Envoy's order. `hits` is what the request costs; 0 only asks whether anything is
    left. `override` is the limit that the proxy sent along, which goes before the rules.
    """

    entries: tuple[tuple[str, str], ...]
    hits: int = 1
    override: Limit | None = None


Path: TypeAlias = tuple[tuple[str, str | None], ...]
"""The entries of a rule: (key, value), or (key, None) for any value, each of which is counted apart."""


@dataclass(slots=True)
class _Node:
    limit: Limit | None = None
    below: dict[tuple[str, str | None], _Node] = field(default_factory=dict)


class Rules:
    """A frozen mapping from a domain and a path to its limit.

    A descriptor matches a path of as many entries with the same keys in the same order, where each value is equal or the rule
    takes any. Of several the one that names the earliest value wins. What matches nothing is not limited.
    """

    __slots__ = ("_domains", "limits")

    def __init__(self, limits: Mapping[tuple[str, Path], Limit] = MappingProxyType({})) -> None:
        """Raises InvalidLimit for a rule that could never match."""
        self.limits: Mapping[tuple[str, Path], Limit] = MappingProxyType(dict(limits))
        self._domains: dict[str, _Node] = {}
        for (domain, path), limit in self.limits.items():
            if not domain or not path:
                raise InvalidLimit(f"a rule of domain {domain!r} and path {path!r}: neither may be empty")
            node = self._domains.setdefault(domain, _Node())
            for entry in path:
                node = node.below.setdefault(entry, _Node())
            node.limit = limit

    def find(self, domain: str, entries: Sequence[tuple[str, str]]) -> Limit | None:
        top = self._domains.get(domain)
        if top is None or not entries:
            return None
        return next(self._matching(top, entries, 0), None)

    def _matching(self, node: _Node, entries: Sequence[tuple[str, str]], at: int) -> Iterator[Limit]:
        """Best first. Only ways that rules have are walked, so the work is bounded by the number of rules."""
        if at == len(entries):
            if node.limit is not None:
                yield node.limit
            return
        key, value = entries[at]
        for entry in ((key, value), (key, None)):
            below = node.below.get(entry)
            if below is not None:
                yield from self._matching(below, entries, at + 1)


@dataclass(frozen=True, slots=True)
class Draw:
    """What is asked of one counter: add `hits` if `limit` is not used up in a window of `window` seconds."""

    key: str
    hits: int
    limit: int
    window: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What one counter says: hits in the window before this request, and the seconds until the window ends."""

    used: int
    left: float


@dataclass(frozen=True, slots=True)
class Status:
    """The answer for one descriptor. `limit` is None where none holds; `reset` is in whole seconds, rounded up: who
    waits that long has the whole limit again.
    """

    over: bool = False
    limit: Limit | None = None
    remaining: int = 0
    reset: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A request, with the limit of each descriptor found."""

    domain: str
    descriptors: tuple[Descriptor, ...]
    limits: tuple[Limit | None, ...]

    def draws(self) -> list[Draw]:
        """One for each descriptor that has a limit, in their order."""
        return [
            Draw(
                counter_key(self.domain, each.entries, limit.unit),
                each.hits,
                limit.requests,
                limit.unit.value,
            )
            for each, limit in zip(self.descriptors, self.limits, strict=True)
            if limit is not None
        ]


def ask(rules: Rules, domain: str, descriptors: Sequence[Descriptor]) -> Question:
    """An override goes before the rules, so a mesh can keep its limits in Envoy's configuration alone."""
    limits = tuple(each.override or rules.find(domain, each.entries) for each in descriptors)
    return Question(domain, tuple(descriptors), limits)


def counter_key(domain: str, entries: Sequence[tuple[str, str]], unit: Unit) -> str:
    """The name of a counter: equal for equal arguments, different for different ones, and of one short length.

    A digest, because values are what clients send: as long as they like, and an API key perhaps. The number of requests is
    not part of it, so a limit that is raised or lowered goes on with what was counted.
    """
    digest = hashlib.blake2b(digest_size=16)
    for text in (domain, *(part for entry in entries for part in entry)):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return f"{unit.name.lower()}:{digest.hexdigest()}"


def decide(question: Question, tallies: Sequence[Tally]) -> tuple[Status, ...]:
    """What each descriptor gets; the request is refused if one of them is `over`. `tallies` answer `question.draws()`."""
    limits = [limit for limit in question.limits if limit is not None]
    counted = counts(
        zip((limit.requests for limit in limits), (tally.used for tally in tallies), strict=True)
    )
    following = iter(tallies)
    return tuple(
        Status() if limit is None else _status(descriptor, limit, next(following), counted)
        for descriptor, limit in zip(question.descriptors, question.limits, strict=True)
    )


def counts(limits_and_used: Iterable[tuple[int, int]]) -> bool:
    """Whether a request is counted at all: not if one of its limits was used up before it."""
    return all(used < limit for limit, used in limits_and_used)


def _status(descriptor: Descriptor, limit: Limit, tally: Tally, counted: bool) -> Status:
    over = tally.used >= limit.requests or tally.used + descriptor.hits > limit.requests
    used = tally.used + descriptor.hits if counted else tally.used
    return Status(over, limit, max(0, limit.requests - used), max(0, math.ceil(tally.left)))
