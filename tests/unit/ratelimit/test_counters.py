from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.counters import MemoryCounters
from ratelimit.limits import Draw, Tally


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def draw(key: str, hits: int = 1, *, limit: int = 10, window: int = 60) -> Draw:
    return Draw(key, hits, limit, window)


async def test_a_window_opens_with_the_first_hit_and_ends_by_itself() -> None:
    time = Seconds()
    counters = MemoryCounters(time)
    assert await counters.add([draw("a")]) == [Tally(0, 60)]
    time.now += 20
    assert await counters.add([draw("a", 3), draw("b", window=1)]) == [Tally(1, 40), Tally(0, 1)]
    assert await counters.add([draw("a", 0)]) == [Tally(4, 40)]
    time.now += 1
    assert await counters.add([draw("a"), draw("b", window=1)]) == [Tally(4, 39), Tally(0, 1)]
    time.now += 39
    assert await counters.add([draw("a")]) == [Tally(0, 60)]


async def test_asking_alone_opens_no_window() -> None:
    counters = MemoryCounters(Seconds())
    assert await counters.add([draw("a", 0)]) == [Tally(0, 60)]
    assert len(counters) == 0


async def test_all_are_counted_or_none() -> None:
    counters = MemoryCounters(Seconds())
    own, shared = draw("own", limit=2), draw("shared")
    for _ in range(5):
        await counters.add([own, shared])
    assert await counters.add([draw("own", 0), draw("shared", 0)]) == [Tally(2, 60), Tally(2, 60)]


async def test_what_is_more_than_the_rest_is_counted_and_then_nothing_more() -> None:
    counters = MemoryCounters(Seconds())
    await counters.add([draw("a", 8)])
    assert await counters.add([draw("a", 8)]) == [Tally(8, 60)]
    assert await counters.add([draw("a", 8)]) == [Tally(16, 60)]
    assert await counters.add([draw("a", 0)]) == [Tally(16, 60)]


async def test_ended_windows_are_dropped_and_open_ones_are_bounded() -> None:
    time = Seconds()
    counters = MemoryCounters(time, most=100)
    for number in range(250):
        await counters.add([draw(f"short {number}", window=1)])
    assert len(counters) == 100
    await counters.add([draw("long", window=3600)])
    assert len(counters) == 100
    time.now += 1
    assert await counters.add([draw("long", window=3600)]) == [Tally(1, 3599)]
    assert len(counters) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3), st.integers(1, 3)), max_size=80),
    st.integers(0, 5),
)
async def test_no_window_lets_more_through_than_its_limit(
    hits: list[tuple[str, float, int]], limit: int
) -> None:
    """Each hit: the key, the seconds since the one before, how many hits it is."""
    time = Seconds()
    counters = MemoryCounters(time)
    passed = dict.fromkeys("abc", 0)  # in the open window of each
    for key, pause, number in hits:
        time.now += pause
        (tally,) = await counters.add([draw(key, number, limit=limit, window=5)])
        assert 0 <= tally.left <= 5
        if tally.used == 0:
            passed[key] = 0
        if tally.used + number <= limit:
            passed[key] += number
        assert passed[key] <= limit
