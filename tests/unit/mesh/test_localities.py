from __future__ import annotations

import pytest

from mesh.localities import SCALE, Area, Own, Placement, Spread, SpreadMode, admitted, placed
from mesh.names import Key
from mesh.workload import Endpoint, Locality

EU_A, EU_B, US_A = Locality("eu", "a"), Locality("eu", "b"), Locality("us", "a")
NOWHERE = Locality()
NEAREST = Spread(SpreadMode.FAILOVER, (Area(Own.ZONE), Area(Own.REGION)))


def at(*places: Locality, weight: int = 1) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(Key("default", f"api-{n}"), "10.0.0.1", n, "api", True, weight=weight, locality=place)
        for n, place in enumerate(places, start=1)
    )


def priorities(spread: Spread, caller: Locality, *places: Locality) -> dict[Locality, int]:
    return {each.locality: each.priority for each in placed(spread, at(*places), caller)}


def test_the_nearest_first() -> None:
    assert priorities(NEAREST, EU_A, EU_A, EU_B, US_A) == {EU_A: 0, EU_B: 1, US_A: 2}
    assert priorities(NEAREST, US_A, EU_A, EU_B, US_A) == {US_A: 0, EU_A: 1, EU_B: 1}


def test_there_is_no_gap_between_priorities() -> None:
    assert priorities(NEAREST, EU_A, EU_A, US_A) == {EU_A: 0, US_A: 1}
    assert priorities(NEAREST, EU_A, US_A) == {US_A: 0}
    assert placed(NEAREST, (), EU_A) == ()


def test_a_caller_that_is_nowhere_shares_nothing() -> None:
    assert priorities(NEAREST, NOWHERE, EU_A, NOWHERE) == {EU_A: 0, NOWHERE: 0}


def test_one_zone_of_two_regions_is_two_zones() -> None:
    assert priorities(NEAREST, EU_A, EU_A, US_A) == {EU_A: 0, US_A: 1}


def test_an_order_by_name_ends_with_all_else() -> None:
    spread = Spread(SpreadMode.FAILOVER, (Area(region="us"), Area(region="eu", zone="b")))
    assert priorities(spread, EU_A, EU_A, EU_B, US_A) == {US_A: 0, EU_B: 1, EU_A: 2}


@pytest.mark.parametrize(
    ("own", "kept"), [(Own.REGION, {EU_A, EU_B}), (Own.ZONE, {EU_A}), (Own.SUB_ZONE, set())]
)
def test_strict_leaves_out_all_else(own: Own, kept: set[Locality]) -> None:
    spread = Spread(SpreadMode.STRICT, (Area(own),))
    assert {each.locality for each in admitted(spread, at(EU_A, EU_B, US_A), EU_A)} == kept
    assert admitted(NEAREST, at(EU_A, US_A), EU_A) == at(EU_A, US_A)


def test_the_localities_of_an_area_share_its_weight_by_what_they_hold() -> None:
    spread = Spread(SpreadMode.WEIGHTED, (Area(region="eu", weight=3), Area(region="us", weight=1)))
    found = placed(spread, at(EU_A, EU_A, EU_B, US_A), EU_A)
    assert found == (
        Placement(EU_A, 0, 2 * SCALE),
        Placement(EU_B, 0, SCALE),
        Placement(US_A, 0, SCALE),
    )


def test_places_without_a_weight_are_the_last_resort() -> None:
    spread = Spread(SpreadMode.WEIGHTED, (Area(Own.ZONE, weight=1),))
    assert placed(spread, at(EU_A, US_A, weight=5), EU_A) == (
        Placement(EU_A, 0, SCALE),
        Placement(US_A, 1, 5),
    )
    assert placed(spread, at(US_A, weight=5), EU_A) == (Placement(US_A, 0, 5),), "where there is no other"


def test_a_weight_of_zero_gets_nothing() -> None:
    spread = Spread(SpreadMode.WEIGHTED, (Area(region="eu"), Area(region="us", weight=1)))
    assert placed(spread, at(EU_A, US_A), EU_A)[0] == Placement(EU_A, 0, 0)


def test_without_areas_each_place_weighs_what_its_endpoints_do() -> None:
    assert placed(Spread(SpreadMode.WEIGHTED), at(EU_A, EU_A, US_A, weight=2), EU_A) == (
        Placement(EU_A, 0, 4),
        Placement(US_A, 0, 2),
    )
