"""How proxies with a change are compared with those without."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.rollout import Bounds
from meshwright.rollout.health import Observed, Outcome, at_least, bucket, judge, quantile, upper
from meshwright.rollout.machine import Health

API, STORE = ("to", "api"), ("to", "store")
BOUNDS = Bounds()


def seen(
    *groups: tuple[bool, tuple[str, str], int, int, float],
) -> Observed:
    """`groups`: with the change or without, who was called, how many requests, how many of them failed, their latency."""
    observed = Observed()
    for having, subject, requests, failed, latency in groups:
        for each in range(requests):
            observed.add(
                subject, Outcome(each < failed, latency, "503 UF" if each < failed else ""), having=having
            )
    return observed


def test_too_few_requests_say_nothing() -> None:
    found = judge(seen((True, API, 49, 49, 0.01)), BOUNDS)
    assert found.health is Health.UNKNOWN
    assert found.words == "49 requests with the change, 50 are needed to judge it"


def test_more_failures_than_the_others() -> None:
    found = judge(seen((True, API, 100, 30, 0.01), (False, API, 1000, 10, 0.01)), BOUNDS)
    assert found.health is Health.BAD
    assert found.words == (
        "30 of 100 requests (30.0 %) failed with the change, of 1000 without it 1.0 %; at most 1 points more may "
        "(most of them to api, 30 times 503 UF)"
    )


def test_a_failure_by_chance_ends_nothing() -> None:
    assert judge(seen((True, API, 50, 1, 0.01), (False, API, 1000, 0, 0.01)), BOUNDS).health is Health.GOOD


def test_what_fails_for_everybody_is_not_the_change() -> None:
    found = judge(seen((True, API, 500, 200, 0.01), (False, API, 5000, 2000, 0.01)), BOUNDS)
    assert found.health is Health.GOOD
    bounds = Bounds(errors=10.0)
    assert (
        judge(seen((True, API, 500, 200, 0.01), (False, API, 5000, 2000, 0.01)), bounds).health is Health.BAD
    )


def test_like_is_compared_with_like() -> None:
    """Those with the change call a service that fails for everybody; the others mostly one that does not."""
    observed = seen(
        (True, STORE, 500, 50, 0.2),
        (False, STORE, 100, 10, 0.2),
        (False, API, 10_000, 0, 0.01),
    )
    assert judge(observed, BOUNDS).health is Health.GOOD


def test_nobody_to_compare_with() -> None:
    observed = seen((True, API, 500, 500, 0.01))
    found = judge(observed, BOUNDS)
    assert found.health is Health.BAD  # then none should fail
    assert "nobody without it" in found.words
    assert judge(seen((True, API, 500, 1, 0.01)), BOUNDS).health is Health.GOOD
    assert judge(observed, Bounds(errors_over=None)).health is Health.GOOD


def test_the_last_stage_is_compared_with_the_others_of_the_one_before() -> None:
    observed = seen((False, API, 1000, 0, 0.01))
    observed.next_stage()
    for _ in range(100):
        observed.add(API, Outcome(failed=True), having=True)
    assert judge(observed, BOUNDS).health is Health.BAD


@pytest.mark.parametrize(
    ("bounds", "latency", "expected"),
    [
        (Bounds(p99_over=2.0), 0.050, Health.BAD),
        (Bounds(p99_over=2.0), 0.014, Health.GOOD),
        (Bounds(p99_over=None, p99=0.1), 0.3, Health.BAD),
        (Bounds(p99_over=None, p99=0.1), 0.05, Health.GOOD),
        (Bounds(p99_over=None, p50=0.02), 0.05, Health.BAD),
        (Bounds(p99_over=None, p50_over=1.5), 0.05, Health.BAD),
        (Bounds(p99_over=None), 5.0, Health.GOOD),
    ],
)
def test_latency(bounds: Bounds, latency: float, expected: Health) -> None:
    found = judge(seen((True, API, 400, 0, latency), (False, API, 1000, 0, 0.01)), bounds)
    assert found.health is expected, found.words


def test_latency_in_words() -> None:
    found = judge(seen((True, API, 400, 0, 0.3), (False, API, 1000, 0, 0.01)), BOUNDS)
    assert found.words == "p99 is 330 ms with the change, 11 ms without it; at most 2 times that is allowed"


def test_a_few_slow_requests_are_no_p99_yet() -> None:
    observed = seen((True, API, 99, 0, 0.01), (True, STORE, 1, 0, 3.0), (False, API, 500, 0, 0.01))
    assert judge(observed, Bounds(p99=0.1)).health is Health.GOOD


def test_requests_that_were_held_up_together_are_no_p99_either() -> None:
    observed = seen((True, API, 56, 0, 0.01), (True, STORE, 4, 0, 0.3), (False, API, 500, 0, 0.01))
    assert judge(observed, BOUNDS).health is Health.GOOD


def test_equal_proxies_are_hardly_ever_told_apart() -> None:
    chance = random.Random(1)
    wrong = 0
    for _ in range(200):
        observed = Observed()
        for having, count in ((True, 300), (False, 3000)):
            for _ in range(count):
                outcome = Outcome(chance.random() < 0.02, chance.expovariate(100))
                observed.add(API, outcome, having=having)
        wrong += judge(observed, BOUNDS).health is Health.BAD
    assert wrong <= 2


@given(st.lists(st.floats(0.0001, 100), min_size=1, max_size=200))
def test_quantiles_are_right_to_a_tenth(values: list[float]) -> None:
    counts: dict[int, int] = {}
    for each in values:
        counts[bucket(each)] = counts.get(bucket(each), 0) + 1
    exact = max(values)
    assert exact <= quantile(counts, 1.0) * 1.000001
    assert quantile(counts, 1.0) <= exact * 1.11
    assert upper(bucket(exact)) >= exact * 0.999999


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_the_lower_end_is_below_what_was_seen(hits: int, of: int) -> None:
    hits = min(hits, of)
    assert 0 <= at_least(hits, of) <= hits / of + 1e-12
    assert at_least(0, of) == 0


def test_what_is_kept_is_bounded() -> None:
    observed = Observed()
    for each in range(3000):
        observed.add(("to", str(each)), Outcome(failed=True, reason=str(each)), having=True)
    assert len(observed.having) <= 2001
    assert judge(observed, replace(BOUNDS, errors=5.0)).health is Health.BAD
