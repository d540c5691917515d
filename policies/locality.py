"""The field `locality` of LoadBalancing: what endpoints in other places than the caller's own get.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/load_balancing/priority
https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/load_balancing/locality_weight
https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/load_balancing/zone_aware
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from documents.reading import Path
from mesh.localities import Area, Own, Spread, SpreadMode
from pb.envoy.extensions.load_balancing_policies.common.v3.common_pb2 import LocalityLbConfig
from policies.fields import Percent, Positive

Mode = Literal["failover", "weighted", "strict", "zoneAware"]
OwnPlace = Literal["region", "zone", "subZone"]
DEFAULT_MODE: Final = "failover"
DEFAULT_ORDER = (Area(Own.ZONE), Area(Own.REGION))
LISTS = {"failover": "failover", "weights": "weighted", "within": "strict", "zoneAware": "zoneAware"}
"""Which mode a field is for."""


class AreaFields(Part):
    """Some localities: either those that share the caller's `own` region, zone or sub-zone, or those of a region, or a zone of it, by name."""

    own: OwnPlace | None = Field(
        None,
        description="Those in the caller's own region, zone (of that region) or sub-zone (of that zone).",
    )
    region: str | None = Field(None, min_length=1, description="Those of this region.")
    zone: str | None = Field(None, min_length=1, description="Of that region, those of this zone alone.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if (self.own is None) == (self.region is None):
            yield Problem(
                at, "it is to have either own or region", "Use {own: zone} or {region: eu}, for example"
            )
        elif self.zone is not None and self.region is None:
            yield Problem(
                (*at, "zone"), "a zone by name lies in a region by name", "Name its region instead of own"
            )

    def value(self, weight: int = 0) -> Area:
        return Area(Own(self.own) if self.own else None, self.region or "", self.zone or "", weight)


class WeightedAreaFields(AreaFields):
    weight: Annotated[int, Field(ge=0, le=10_000)] = Field(
        description="Its part of the traffic, in relation to the others'. Its localities share it by what their endpoints weigh."
    )


class ZoneAwareFields(Part):
    min_endpoints: Positive | None = Field(
        None,
        description="A service with fewer endpoints is balanced as if it lay in one zone. Default 6.",
    )
    percent: Percent | None = Field(
        None, description="The percentage of requests that go by zones at all. Default 100."
    )


class LocalityFields(Part):
    mode: Mode | None = Field(
        None,
        description="`failover`: the places in the order of `failover`, then all others. `weighted`: a part of the traffic for each of "
        "`weights`. `strict`: nowhere but `within`. `zoneAware`: as much in the caller's own zone as leaves all endpoints equal load, "
        "given how the caller's own service is spread over zones. Default failover.",
    )
    failover: list[AreaFields] | None = Field(
        None,
        min_length=1,
        description="For `failover`: the first place takes all while enough of its endpoints are healthy (see `overprovisioningPercent`), then the "
        "next, and last, by itself, everything else. That endpoints fail is seen by OutlierDetection, HealthCheck or the registry. "
        "Default: the caller's own zone, then its own region.",
    )
    weights: list[WeightedAreaFields] | None = Field(
        None,
        min_length=1,
        description="For `weighted`: the first entry that fits a place counts. Places that none fits get traffic when the others have no healthy "
        "endpoint. By default each place gets as much as its endpoints weigh.",
    )
    within: OwnPlace | None = Field(
        None,
        description="For `strict`: endpoints outside the caller's own region, zone or sub-zone are never used. A caller whose locality is "
        "not known reaches nobody. Default zone.",
    )
    zone_aware: ZoneAwareFields | None = Field(None, description="For `zoneAware`.")
    overprovisioning_percent: Annotated[int, Field(ge=100, le=1000)] | None = Field(
        None,
        description="With places in an order, one keeps all of its traffic while this times its healthy part is 100 % or more: with 140, until "
        "fewer than 72 % of its endpoints are healthy. Default 140.",
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, area in enumerate(self.failover or ()):
            yield from area.problems((*at, "failover", place))
        for place, area in enumerate(self.weights or ()):
            yield from area.problems((*at, "weights", place))
        if self.weights and not any(each.weight for each in self.weights):
            yield Problem((*at, "weights"), "all weights are 0, so that nobody gets traffic", "Raise one")
        given = {type(self).model_fields[name].alias or name for name in self.model_fields_set}
        for name, mode in LISTS.items():
            if self.mode is not None and name in given and mode != self.mode:
                yield Problem(
                    (*at, name), f"it has no effect in mode {self.mode}", f"Remove it, or use mode: {mode}"
                )


def spread(fields: LocalityFields) -> Spread | None:
    """What the endpoints tell Envoy; None for `zoneAware`, which the cluster tells it."""
    over = fields.overprovisioning_percent
    match _mode(fields):
        case "failover":
            areas = tuple(each.value() for each in fields.failover) if fields.failover else DEFAULT_ORDER
            return Spread(SpreadMode.FAILOVER, areas, over)
        case "weighted":
            weighted = tuple(each.value(each.weight) for each in fields.weights or ())
            return Spread(SpreadMode.WEIGHTED, weighted, over)
        case "strict":
            return Spread(SpreadMode.STRICT, (Area(Own(fields.within or "zone")),), over)
        case "zoneAware":
            return None


def is_weighted(fields: LocalityFields | None) -> bool:
    return fields is not None and _mode(fields) == "weighted"


def is_zone_aware(fields: LocalityFields | None) -> bool:
    return fields is not None and _mode(fields) == "zoneAware"


def configure(made: LocalityLbConfig, fields: LocalityFields | None) -> None:
    """What the cluster says. Envoy goes by zones wherever it knows its own cluster, unless it is told not to."""
    if is_weighted(fields):
        made.locality_weighted_lb_config.SetInParent()
        return
    aware = made.zone_aware_lb_config
    aware.routing_enabled.SetInParent()
    if fields is None or not is_zone_aware(fields):
        return
    said = fields.zone_aware
    aware.routing_enabled.value = 100.0 if said is None or said.percent is None else said.percent
    if said is not None and said.min_endpoints is not None:
        aware.min_cluster_size.value = said.min_endpoints


def _mode(fields: LocalityFields) -> Mode:
    """The one that is said; else that of the only list there is."""
    if fields.mode is not None:
        return fields.mode
    implied: list[Mode] = []
    if fields.failover is not None:
        implied.append("failover")
    if fields.weights is not None:
        implied.append("weighted")
    if fields.within is not None:
        implied.append("strict")
    if fields.zone_aware is not None:
        implied.append("zoneAware")
    return implied[0] if len(implied) == 1 else DEFAULT_MODE
