"""Where endpoints lie as seen from a caller: which places are preferred, which are left out, and how much each gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from mesh.workload import Endpoint, Locality

SCALE = 1_000
"""Weights of places are whole numbers in messages: those that documents give are multiplied, so that a part of one is one too."""


class Own(StrEnum):
    """How much of its locality an endpoint shares with the caller: a zone lies in a region, a sub-zone in a zone."""

    REGION = "region"
    ZONE = "zone"
    SUB_ZONE = "subZone"


@dataclass(frozen=True, slots=True)
class Area:
    """Some localities: those that share the caller's `own`; else those of `region`, and in it of `zone` where one is named.

    `weight` counts for WEIGHTED alone.
    """

    own: Own | None = None
    region: str = ""
    zone: str = ""
    weight: int = 0

    def holds(self, there: Locality, caller: Locality) -> bool:
        """A caller that is nowhere shares nothing."""
        match self.own:
            case None:
                return there.region == self.region and self.zone in {"", there.zone}
            case Own.REGION:
                return bool(caller.region) and there.region == caller.region
            case Own.ZONE:
                return bool(caller.zone) and (there.region, there.zone) == (caller.region, caller.zone)
            case Own.SUB_ZONE:
                return bool(caller.sub_zone) and there == caller


class SpreadMode(Enum):
    """FAILOVER: one area after the other, then all else. STRICT: the areas and nothing else. WEIGHTED: the areas by their weights, all else
    only where these have nobody; without areas, every place by what its endpoints weigh.
    """

    FAILOVER = auto()
    STRICT = auto()
    WEIGHTED = auto()


@dataclass(frozen=True, slots=True)
class Spread:
    """How calls are spread over places. `overprovisioning`, in percent: an area spills over to the next when fewer than 100 divided by this
    of its endpoints are healthy; None is Envoy's own, 140.
    """

    mode: SpreadMode
    areas: tuple[Area, ...] = ()
    overprovisioning: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """What a locality is to a caller. `priority` 0 is first, and none is left out; `weight` 0 says nothing."""

    locality: Locality
    priority: int = 0
    weight: int = 0


def admitted(spread: Spread, endpoints: tuple[Endpoint, ...], caller: Locality) -> tuple[Endpoint, ...]:
    """Those that a caller there may use at all."""
    if spread.mode is not SpreadMode.STRICT:
        return endpoints
    return tuple(each for each in endpoints if _rank(spread, each.locality, caller) < len(spread.areas))


def placed(spread: Spread, endpoints: Iterable[Endpoint], caller: Locality) -> tuple[Placement, ...]:
    """What the localities of `endpoints` are to a caller there, by locality."""
    heavy: dict[Locality, int] = {}
    for each in endpoints:
        heavy[each.locality] = heavy.get(each.locality, 0) + each.weight
    if spread.mode is SpreadMode.WEIGHTED:
        return tuple(_weighted(spread, heavy, caller))
    if spread.mode is SpreadMode.STRICT:
        return tuple(Placement(locality) for locality in sorted(heavy))
    ranks = {locality: _rank(spread, locality, caller) for locality in sorted(heavy)}
    # Envoy takes no gap between priorities.
    priorities = {rank: priority for priority, rank in enumerate(sorted(set(ranks.values())))}
    return tuple(Placement(locality, priorities[rank]) for locality, rank in ranks.items())


def _weighted(spread: Spread, heavy: dict[Locality, int], caller: Locality) -> Iterator[Placement]:
    """The localities of one area share its weight by what their endpoints weigh. One of weight 0 gets nothing."""
    ranks = {locality: _rank(spread, locality, caller) for locality in sorted(heavy)}
    named = {rank for rank in ranks.values() if rank < len(spread.areas)}
    for locality, rank in ranks.items():
        if rank == len(spread.areas):
            yield Placement(locality, 1 if named else 0, heavy[locality])
            continue
        weight = spread.areas[rank].weight
        whole = sum(heavy[each] for each in ranks if ranks[each] == rank)
        yield Placement(locality, 0, max(1, SCALE * weight * heavy[locality] // whole) if weight else 0)


def _rank(spread: Spread, there: Locality, caller: Locality) -> int:
    """The first area that holds `there`; the number of areas if none does."""
    return next(
        (place for place, area in enumerate(spread.areas) if area.holds(there, caller)), len(spread.areas)
    )
