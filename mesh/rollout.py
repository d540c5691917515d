"""Staged rollouts as values: which proxies a change reaches when, and by what it is judged on the way.

A plan has stages. Each names the proxies that it adds; those of the stages before it stay. The last one is everybody, whether it is said
or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from mesh.names import Key
from mesh.targeting import Level, TargetRef

POINTS = 1 << 32
"""Proxies are spread over so many points by their names."""


class NoTraffic(StrEnum):
    """What becomes of a stage that has seen too few requests to be judged when its time is up."""

    PROCEED = "proceed"
    WAIT = "wait"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Stage:
    """The proxies that a stage adds: a share (percent) of those concerned, those with all of `labels`, or those in one of `zones`.

    `bake`: seconds for which the change must do well there once all have acknowledged it.
    """

    bake: float
    share: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    zones: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.share is not None:
            return f"{self.share:g}%"
        if self.labels:
            return ",".join(f"{name}={value}" for name, value in self.labels)
        return "zone " + ",".join(self.zones)

    @property
    def everybody(self) -> bool:
        return self.share is not None and self.share >= 100


@dataclass(frozen=True, slots=True)
class Bounds:
    """Within what a stage must stay. Shares are percent, times seconds; None is no bound.

    `errors_over`: points by which the share of failures may exceed that of the proxies without the change; `errors`: the share itself.
    `p50_over`, `p99_over`: so many times the latency of the others; `p50`, `p99`: the latency itself. Nothing is judged by less than
    `requests` of them. `client_errors`: whether statuses from 400 on count as failures, too.
    """

    errors_over: float | None = 1.0
    errors: float | None = None
    p50_over: float | None = None
    p99_over: float | None = 2.0
    p50: float | None = None
    p99: float | None = None
    requests: int = 50
    client_errors: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`acknowledgements`: seconds in which the proxies of a stage must have acknowledged it. `patience`: seconds beyond its time for
    which a stage without traffic waits, where it does.
    """

    stages: tuple[Stage, ...]
    bounds: Bounds = Bounds()
    acknowledgements: float = 60.0
    no_traffic: NoTraffic = NoTraffic.PROCEED
    patience: float = 3600.0

    def __post_init__(self) -> None:
        if not self.stages or not self.stages[-1].everybody:
            last = self.stages[-1].bake if self.stages else 0.0
            object.__setattr__(self, "stages", (*self.stages, Stage(last, share=100.0)))

    def __str__(self) -> str:
        return ", ".join(map(str, self.stages))


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """A document: changes of other documents go out by `plan`: of those of `kinds` (empty: of all that can be rolled out) that `targets`
    mean: all, those of a namespace, or those that concern a service, wherever they are.
    """

    key: Key
    plan: Plan
    targets: tuple[TargetRef, ...]
    kinds: frozenset[str] = frozenset()
    origin: tuple[str, ...] = field(default=(), compare=False)

    def rank(self, kind: str, key: Key, services: frozenset[Key]) -> Level | None:
        """How nearly this means the document of that name, which concerns `services`; None: not at all."""
        if self.kinds and kind not in self.kinds:
            return None
        found = [
            each.level
            for each in self.targets
            if each.level is Level.MESH
            or (each.level is Level.NAMESPACE and each.namespace == key.namespace)
            or (each.level is Level.SERVICE and Key(each.namespace, each.name) in services)
        ]
        return max(found, default=None)


def point(workload: Key) -> int:
    """Where a proxy stands among POINTS: by its name alone, so that every replica says the same and a larger share has all of a smaller."""
    return int.from_bytes(sha256(str(workload).encode()).digest()[:4], "big")


def threshold(workloads: frozenset[Key], share: float) -> int:
    """The point below which `share` percent of `workloads` stand, rounded up: one at least, where there is one. POINTS: all.

    Who comes later falls on one side or the other by its name, and moves nobody else.
    """
    if share >= 100:
        return POINTS
    points = sorted(map(point, workloads))
    if not points or share <= 0:
        return 0
    count = -(-len(points) * share // 100)
    return points[min(len(points), max(1, int(count))) - 1] + 1


def has_labels(labels: Mapping[str, str], wanted: tuple[tuple[str, str], ...]) -> bool:
    return all(labels.get(name) == value for name, value in wanted)
