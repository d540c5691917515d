"""How proxies with a change do, beside those without: pure, from counts of what they logged.

What is compared is alike: calls to a service, as callers or as its own sidecars saw them. What the proxies without the change saw is
weighed by how the calls of those with it are spread over these, so that a busy, slow service on one side only misleads nobody.

A bound is broken when even the lower end of what the true share may be, judging by so few requests, lies above it (Wilson's score
interval, https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval): one failure in ten requests ends
no rollout, and forty in a hundred end it at once. Latency is judged in the same manner: by the share of requests that took longer than
the bound, of which there may be half (p50), or one in a hundred (p99).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mesh.rollout import Bounds
from meshwright.rollout.machine import Health

CERTAINTY: Final = 2.58
"""Standard deviations: of 200 rollouts that stay just within a bound, about one would be withdrawn by chance at a look."""

TOGETHER: Final = 2
"""Failures rarely come alone: so many count as one."""
SLOW_TOGETHER: Final = 5
"""Nor do slow requests: what holds up one holds up those beside it."""

STEP: Final = 1.1
"""Latencies are counted in steps of a tenth."""
FINEST: Final = 0.000_1
SLACK: Final = 0.005
"""Seconds that a latency may always be above that of the others: what a scheduler does, nobody's change does."""

SUBJECTS: Final = 2_000
"""Services that are told apart; calls to all others are one."""
REASONS: Final = 20

Subject = tuple[str, str]
"""The direction as the proxy saw it, and who was called."""
OTHERS: Final[Subject] = ("", "others")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request or connection. `latency`: seconds, None where it says nothing, as that of a connection."""

    failed: bool
    latency: float | None = None
    reason: str = ""


@dataclass(slots=True)
class Tally:
    requests: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.requests += 1
        if outcome.latency is not None:
            self.latencies[bucket(outcome.latency)] += 1
        if outcome.failed:
            self.failed += 1
            if outcome.reason in self.reasons or len(self.reasons) < REASONS:
                self.reasons[outcome.reason] += 1


Seen = dict[Subject, Tally]


@dataclass(slots=True)
class Observed:
    """`having`: what was seen with the change, in this stage. `without`: without it, in this stage; `before`: in the one before, for
    where there is nobody without it any more.
    """

    having: Seen = field(default_factory=dict)
    without: Seen = field(default_factory=dict)
    before: Seen = field(default_factory=dict)

    def add(self, subject: Subject, outcome: Outcome, *, having: bool) -> None:
        of = self.having if having else self.without
        found = of.get(subject)
        if found is None:
            if len(of) >= SUBJECTS:
                subject = OTHERS
            found = of.setdefault(subject, Tally())
        found.add(outcome)

    def next_stage(self) -> None:
        self.before = {**self.before, **self.without}
        self.having, self.without = {}, {}

    def reference(self, subject: Subject, least: int) -> Tally | None:
        """Of the proxies without the change; None where too little was seen."""
        for of in (self.without, self.before):
            found = of.get(subject)
            if found is not None and found.requests >= least:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Judgement:
    health: Health
    words: str


def judge(observed: Observed, bounds: Bounds) -> Judgement:
    """Whether what was seen with the change is within `bounds`, in words with numbers."""
    total = sum(each.requests for each in observed.having.values())
    if total < bounds.requests:
        return Judgement(
            Health.UNKNOWN, f"{total} requests with the change, {bounds.requests} are needed to judge it"
        )
    others = _Others.of(observed, least(bounds))
    for words in (*_errors(observed, others, bounds, total), *_latencies(observed, others, bounds)):
        return Judgement(Health.BAD, words)
    failed = sum(each.failed for each in observed.having.values())
    return Judgement(Health.GOOD, f"{_share(failed, total)} failed{others.words}")


def least(bounds: Bounds) -> int:
    """So many requests without the change must have been seen of a subject to be compared with."""
    return min(bounds.requests, 20)


@dataclass(frozen=True, slots=True)
class _Others:
    """The proxies without the change, weighed as the calls of those with it are spread. `weight`: of how much of these they say something."""

    failed: float
    latencies: Mapping[int, float]
    weight: float
    seen: int

    @classmethod
    def of(cls, observed: Observed, least: int) -> _Others:
        failed, weight, seen = 0.0, 0.0, 0
        spread: dict[int, float] = {}
        for subject, tally in observed.having.items():
            reference = observed.reference(subject, least)
            if reference is None:
                continue
            failed += tally.requests * reference.failed / reference.requests
            weight += tally.requests
            seen += reference.requests
            timed = sum(reference.latencies.values())
            if timed:
                share = sum(tally.latencies.values()) / timed
                for at, count in reference.latencies.items():
                    spread[at] = spread.get(at, 0.0) + count * share
        return cls(failed, spread, weight, seen)

    @property
    def errors(self) -> float | None:
        """Their share of failures, of 1."""
        return self.failed / self.weight if self.weight else None

    @property
    def words(self) -> str:
        if self.errors is None:
            return "; nobody without it was seen to compare with"
        return f", of {self.seen} without it {100 * self.errors:.1f} %"


def _errors(observed: Observed, others: _Others, bounds: Bounds, total: int) -> Iterable[str]:
    failed = sum(each.failed for each in observed.having.values())
    share = f"{_share(failed, total)} failed with the change{others.words}"
    if bounds.errors is not None and at_least(failed, total, TOGETHER) > bounds.errors / 100:
        yield f"{share}; at most {bounds.errors:g} % may ({_most(observed)})"
    if bounds.errors_over is not None:
        # Of what others say nothing, nothing is held against the change; if they say nothing at all, none should fail.
        allowed = (others.errors or 0.0) + bounds.errors_over / 100
        compared = [
            tally
            for subject, tally in observed.having.items()
            if others.errors is None or observed.reference(subject, least(bounds)) is not None
        ]
        failed = sum(each.failed for each in compared)
        requests = sum(each.requests for each in compared)
        if requests >= bounds.requests and at_least(failed, requests, TOGETHER) > allowed:
            yield f"{share}; at most {bounds.errors_over:g} points more may ({_most(observed)})"


def _latencies(observed: Observed, others: _Others, bounds: Bounds) -> Iterable[str]:
    having: Counter[int] = Counter()
    for each in observed.having.values():
        having.update(each.latencies)
    total = sum(having.values())
    if total < bounds.requests:
        return
    for name, beyond, absolute, factor in (
        ("p50", 0.5, bounds.p50, bounds.p50_over),
        ("p99", 0.01, bounds.p99, bounds.p99_over),
    ):
        now = quantile(having, 1 - beyond)
        if absolute is not None and at_least(_slower(having, absolute), total, SLOW_TOGETHER) > beyond:
            yield f"{name} is {_time(now)} with the change; at most {_time(absolute)} is allowed"
        if factor is not None and others.latencies:
            reference = quantile(others.latencies, 1 - beyond)
            limit = max(reference * factor, reference + SLACK)
            if at_least(_slower(having, limit), total, SLOW_TOGETHER) > beyond:
                yield (
                    f"{name} is {_time(now)} with the change, {_time(reference)} without it; at most {factor:g} times that is allowed"
                )


def bucket(seconds: float) -> int:
    return 0 if seconds <= FINEST else math.ceil(math.log(seconds / FINEST, STEP))


def upper(at: int) -> float:
    """The longest that counts in a bucket, in seconds."""
    return FINEST * STEP**at


def quantile(latencies: Mapping[int, float], share: float) -> float:
    """Seconds within which `share` of them lie, to a tenth; 0 where there are none."""
    left = share * sum(latencies.values())
    found = 0
    for at in sorted(latencies):
        found = at
        left -= latencies[at]
        if left <= 1e-9:
            break
    return upper(found) if latencies else 0.0


def _slower(latencies: Mapping[int, int], limit: float) -> int:
    """How many took longer than `limit`: those of its own bucket are not counted."""
    bound = bucket(limit)
    return sum(count for at, count in latencies.items() if at > bound)


def at_least(hits: int, of: int, together: int = 1) -> float:
    """The lower end of Wilson's interval for the true share, of 1. `together`: how many of them say no more than one by itself."""
    if not hits:
        return 0.0
    share, squared, count = hits / of, CERTAINTY**2, of / together
    middle = share + squared / (2 * count)
    spread = CERTAINTY * math.sqrt(share * (1 - share) / count + squared / (4 * count * count))
    return max(0.0, (middle - spread) / (1 + squared / count))


def _most(observed: Observed) -> str:
    """Where most failures are, and what they are."""
    (direction, whom), tally = max(observed.having.items(), key=lambda each: (each[1].failed, each[0]))
    reason, count = max(tally.reasons.items(), key=lambda each: (each[1], each[0]), default=("", 0))
    why = f", {count} times {reason}" if reason else ""
    return f"most of them {direction} {whom}{why}".replace("  ", " ")


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} requests ({100 * part / whole:.1f} %)"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1000:.1f} ms"
