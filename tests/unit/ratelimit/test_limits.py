from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ratelimit.errors import InvalidLimit
from ratelimit.limits import Descriptor, Limit, Path, Rules, Status, Tally, Unit, ask, counter_key, decide

TEN = Limit(10, Unit.MINUTE)
FIVE = Limit(5, Unit.SECOND)
ONE = Limit(1, Unit.HOUR)

entries = st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=1, max_size=3).map(tuple)


def a_descriptor(*pairs: tuple[str, str], hits: int = 1, override: Limit | None = None) -> Descriptor:
    return Descriptor(pairs or (("k", "v"),), hits, override)


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ((("caller", "web"),), FIVE),
        ((("caller", "api"),), TEN),  # any value
        ((("caller", "web"), ("path", "/a")), ONE),
        ((("caller", "web"), ("path", "/b")), TEN),  # the better way leads nowhere: the other one is taken
        ((("caller", "api"), ("path", "/b")), TEN),
        ((("caller", "api"), ("path", "/a")), None),
        ((("path", "/a"), ("caller", "web")), None),  # the order counts
        ((("caller", "web"), ("path", "/a"), ("more", "")), None),
        ((("elsewhere", "web"),), None),
        ((), None),
    ],
)
def test_the_rule_that_names_the_earliest_value_wins(
    entries: tuple[tuple[str, str], ...], found: Limit | None
) -> None:
    rules = Rules(
        {
            ("api", (("caller", None),)): TEN,
            ("api", (("caller", "web"),)): FIVE,
            ("api", (("caller", "web"), ("path", "/a"))): ONE,
            ("api", (("caller", None), ("path", "/b"))): TEN,
            ("other", (("elsewhere", "web"),)): ONE,
        }
    )
    assert rules.find("api", entries) == found
    assert rules.find("nowhere", entries) is None


def test_rules_and_limits_that_cannot_be() -> None:
    for domain, path in (("", (("k", "v"),)), ("api", ())):
        with pytest.raises(InvalidLimit, match="neither may be empty"):
            Rules({(domain, path): TEN})
    for requests in (-1, 2**32):
        with pytest.raises(InvalidLimit, match="give a number from 0 to 4294967295"):
            Limit(requests, Unit.SECOND)


def test_rules_stay_as_they_were_made() -> None:
    given_rules: dict[tuple[str, Path], Limit] = {("api", (("caller", None),)): TEN}
    rules = Rules(given_rules)
    given_rules.clear()
    assert rules.find("api", [("caller", "web")]) == TEN


def test_the_proxys_own_limit_goes_before_the_rules_and_the_unlimited_draws_nothing() -> None:
    rules = Rules({("api", (("caller", None),)): TEN})
    web, free = a_descriptor(("caller", "web")), a_descriptor(("x", "y"))
    own = a_descriptor(("caller", "web"), hits=3, override=FIVE)
    question = ask(rules, "api", [web, free, own])
    assert question.limits == (TEN, None, FIVE)
    assert [(draw.hits, draw.limit, draw.window) for draw in question.draws()] == [(1, 10, 60), (3, 5, 1)]
    assert decide(question, [Tally(0, 60), Tally(0, 1)]) == (
        Status(over=False, limit=TEN, remaining=9, reset=60),
        Status(),
        Status(over=False, limit=FIVE, remaining=2, reset=1),
    )


@pytest.mark.parametrize(
    ("used", "hits", "over", "remaining"),
    [
        (0, 1, False, 9),
        (9, 1, False, 0),
        (10, 1, True, 0),
        (8, 3, True, 0),  # more than what is left: counted, for it may have been spent already
        (9, 0, False, 1),  # no hits: is there anything left?
        (10, 0, True, 0),
        (99, 1, True, 0),
    ],
)
def test_one_limit(used: int, hits: int, over: bool, remaining: int) -> None:
    question = ask(Rules(), "api", [a_descriptor(hits=hits, override=TEN)])
    assert decide(question, [Tally(used, 30.2)]) == (Status(over, TEN, remaining, reset=31),)


def test_a_refused_request_uses_up_nothing_of_its_other_limits() -> None:
    question = ask(Rules(), "api", [a_descriptor(override=ONE), a_descriptor(override=TEN)])
    own, shared = decide(question, [Tally(1, 10), Tally(4, 10)])
    assert (own.over, own.remaining) == (True, 0)
    assert (shared.over, shared.remaining) == (False, 6)


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    question = ask(Rules(), "api", [a_descriptor(override=Limit(0, Unit.SECOND))])
    assert decide(question, [Tally(0, 1)])[0].over


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.floats(0, 3600)), max_size=5
    )
)
def test_whatever_the_counters_say_the_answer_is_sound(cases: list[tuple[int, int, int, float]]) -> None:
    """`cases`: limit, hits, used, seconds left."""
    descriptors = [a_descriptor(hits=hits, override=Limit(limit, Unit.SECOND)) for limit, hits, _, _ in cases]
    statuses = decide(ask(Rules(), "api", descriptors), [Tally(used, left) for _, _, used, left in cases])
    assert len(statuses) == len(cases)
    for status, (limit, hits, used, left) in zip(statuses, cases, strict=True):
        assert 0 <= status.remaining <= limit
        assert left <= status.reset <= left + 1
        assert status.over == (used + max(hits, 1) > limit)


@given(entries, entries, st.text(max_size=3), st.text(max_size=3))
def test_counters_of_different_things_are_different(
    one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...], domain: str, elsewhere: str
) -> None:
    assert counter_key(domain, one, Unit.HOUR) == counter_key(domain, list(one), Unit.HOUR)
    assert counter_key(domain, one, Unit.HOUR) != counter_key(domain, one, Unit.DAY)
    assume((domain, one) != (elsewhere, other))
    assert counter_key(domain, one, Unit.HOUR) != counter_key(elsewhere, other, Unit.HOUR)


def test_a_counters_name_neither_grows_with_a_value_nor_tells_it() -> None:
    key = counter_key("api", [("x-api-key", "hunter2" * 10_000)], Unit.MINUTE)
    assert len(key) < 64
    assert "hunter2" not in key


@given(
    st.dictionaries(st.tuples(st.just("d"), entries), st.sampled_from([TEN, FIVE, ONE]), max_size=8), entries
)
def test_exact_rules_alone_are_a_mapping(
    limits: dict[tuple[str, tuple[tuple[str, str], ...]], Limit], asked: tuple[tuple[str, str], ...]
) -> None:
    rules = Rules({(domain, tuple(path)): limit for (domain, path), limit in limits.items()})
    for each in [*(path for _, path in limits), asked]:
        assert rules.find("d", each) == limits.get(("d", each))
