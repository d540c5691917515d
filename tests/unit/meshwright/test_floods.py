"""One line stands for many, and says for how many."""

from __future__ import annotations

from ca.rate_limit import Rate
from meshwright.floods import REMEMBERED, Flood


def test_a_flood_is_told_by_its_rate_with_what_was_left_out() -> None:
    now = [0.0]
    flood = Flood(lambda: now[0], Rate(burst=3, per_second=0.1))
    assert [flood.told("a") for _ in range(10)] == [0, 0, 0, *[None] * 7]
    assert flood.told("b") == 0, "another is told by itself"
    now[0] = 10.0
    assert [flood.told("a") for _ in range(2)] == [7, None]


def test_it_remembers_a_bounded_number() -> None:
    flood = Flood(lambda: 0.0, Rate(burst=1, per_second=0.0))
    for number in range(REMEMBERED + 10):
        flood.told(str(number))
    assert len(flood._buckets) == REMEMBERED
