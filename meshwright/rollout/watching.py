"""Which proxies say what they handle while a rollout is on, and what is made of it.

Only some say it: those of the stage, and about as many of the others, and of those that call them. What they say is counted and let go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from envoy import names
from mesh.names import Key
from mesh.rollout import Bounds, point
from mesh.state import MeshState
from mesh.views import inbound_view
from meshwright.access_logs import Entries, OnEntries
from meshwright.metrics import Metrics
from meshwright.rollout.health import Judgement, Observed, Seen, judge
from meshwright.rollout.outcomes import Entry, began, callee, calls, ended, outcome
from meshwright.rollout.reach import Concerned

MOST = 200
"""Proxies of one stage that are watched, and as many others."""
LEAST = 20
"""Others that are watched, even if the stage has fewer."""


@dataclass(slots=True)
class Watched:
    """What is seen of one rollout. `having`: the workloads whose proxies have the change; `places`: where those are called that enforce
    it themselves, so that their callers speak of it too. `since`: when the stage had been published, in seconds since the epoch: what
    began before is of another time, however late it is told.
    """

    bounds: Bounds
    having: frozenset[Key] = frozenset()
    others: frozenset[Key] = frozenset()
    places: frozenset[tuple[str, int]] = frozenset()
    since: float = math.inf
    observed: Observed = field(default_factory=Observed)


class Watching:
    """Takes the access logs of watched proxies. Neither blocks nor raises."""

    def __init__(self, state: Callable[[], MeshState], metrics: Metrics) -> None:
        self._state = state
        self._metrics = metrics
        self._of: dict[str, Watched] = {}

    def listeners(self) -> dict[str, OnEntries]:
        """By the log's name."""
        return {names.CALLS_LOG: self._calls, names.SERVED_LOG: self._served}

    def proxies(self) -> frozenset[Key]:
        """All that are to be watched."""
        return frozenset().union(*(each.having | each.others for each in self._of.values()))

    def __contains__(self, rollout: str) -> bool:
        return rollout in self._of

    def begin(self, rollout: str, bounds: Bounds) -> None:
        self._of.setdefault(rollout, Watched(bounds))

    def end(self, rollout: str) -> None:
        self._of.pop(rollout, None)

    def next_stage(self, rollout: str) -> None:
        """Nothing counts until it is `published`."""
        watched = self._of[rollout]
        watched.since = math.inf
        watched.observed.next_stage()

    def published(self, rollout: str, now: float) -> None:
        """`now`: seconds since the epoch."""
        if rollout in self._of:
            self._of[rollout].since = now

    def look(
        self, rollout: str, concerned: Concerned, having: frozenset[Key], others: frozenset[Key]
    ) -> None:
        """Who has the change now, and who of those that it concerns, or that call them, has it not."""
        watched, state = self._of[rollout], self._state()
        watched.having, watched.others = having, others
        watched.places = frozenset(_places(state, having & concerned.callees))

    def judge(self, rollout: str) -> Judgement:
        watched = self._of[rollout]
        return judge(watched.observed, watched.bounds)

    def counts(self, rollout: str) -> tuple[int, int, int, int]:
        """With the change in this stage: requests, and failures of them; without it, the same."""
        watched = self._of.get(rollout)
        if watched is None:
            return 0, 0, 0, 0
        return (*_sums(watched.observed.having), *_sums(watched.observed.without))

    def _calls(self, workload: Key, entries: Entries) -> None:
        for watched in self._speaking(workload, entries):
            here = workload in watched.having
            for each in entries:
                if _counts(each, watched):
                    found = outcome(each, client_errors=watched.bounds.client_errors)
                    having = here or callee(each) in watched.places
                    watched.observed.add(calls(each), found, having=having)

    def _served(self, workload: Key, entries: Entries) -> None:
        for watched in self._speaking(workload, entries):
            subject = "as", self._service(workload)
            for each in entries:
                if _counts(each, watched):
                    found = outcome(each, client_errors=watched.bounds.client_errors)
                    watched.observed.add(subject, found, having=workload in watched.having)

    def _speaking(self, workload: Key, entries: Entries) -> list[Watched]:
        found = [each for each in self._of.values() if workload in each.having or workload in each.others]
        if not found:  # it was watched until a moment ago
            self._metrics.access_log_entries.labels("meaningless").inc(len(entries))
        return found

    def _service(self, workload: Key) -> str:
        found = self._state().workloads.get(workload)
        return str(found.services[0]) if found is not None and found.services else str(workload)


def _counts(entry: Entry, watched: Watched) -> bool:
    at = began(entry)
    return ended(entry) and watched.since < math.inf and (at is None or at >= watched.since)


def some(workloads: Iterable[Key], most: int = MOST) -> frozenset[Key]:
    """`most` of them, the same each time."""
    found = frozenset(workloads)
    return found if len(found) <= most else frozenset(sorted(found, key=point)[:most])


def _places(state: MeshState, workloads: Iterable[Key]) -> Iterable[tuple[str, int]]:
    for key in workloads:
        found = state.workloads.get(key)
        if found is not None:
            for port in inbound_view(state, found).ports:
                yield found.address, port.sidecar_port


def _sums(seen: Seen) -> tuple[int, int]:
    return sum(each.requests for each in seen.values()), sum(each.failed for each in seen.values())
