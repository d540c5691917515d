from __future__ import annotations

import pytest

from mesh.plaintext_calls import CALLERS, FORGOTTEN_AFTER, IN_ALL, Call, Place, PlaintextCalls, Spoken
from tests.support.builders import a_key

API = Place(a_key("api"), 80)


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def seen(now: list[float]) -> PlaintextCalls:
    return PlaintextCalls(lambda: now[0])


def test_calls_are_counted_by_place_caller_and_protocol(seen: PlaintextCalls, now: list[float]) -> None:
    seen.record(API, "10.0.0.7", Spoken.HTTP, 2)
    now[0] += 5
    seen.record(API, "10.0.0.7", Spoken.HTTP)
    seen.record(API, "10.0.0.7", Spoken.TLS)
    seen.record(Place(a_key("a"), 1), "10.0.0.8", Spoken.TCP)
    assert list(seen.calls()) == [
        Call(Place(a_key("a"), 1), "10.0.0.8", Spoken.TCP, 1, 105.0, 105.0),
        Call(API, "10.0.0.7", Spoken.TLS, 1, 105.0, 105.0),
        Call(API, "10.0.0.7", Spoken.HTTP, 3, 100.0, 105.0),
    ]
    assert seen.since == 100.0


def test_a_connection_that_goes_on_is_seen_and_not_counted(seen: PlaintextCalls, now: list[float]) -> None:
    seen.record(API, "10.0.0.7", Spoken.TCP)
    now[0] += 5000
    assert not list(seen.calls(within=3600))
    seen.record(API, "10.0.0.7", Spoken.TCP, 0)
    (call,) = seen.calls(within=3600)
    assert (call.count, call.last) == (1, 5100.0)


def test_of_more_callers_than_there_is_room_for_the_longest_silent_leave(
    seen: PlaintextCalls, now: list[float]
) -> None:
    seen.record(API, "first", Spoken.TCP)
    for number in range(CALLERS):
        now[0] += 1
        seen.record(API, f"10.0.{number // 256}.{number % 256}", Spoken.TCP)
    found = list(seen.calls())
    assert len(found) == CALLERS
    assert "first" not in {each.address for each in found}
    assert seen.crowded_out == 1


def test_however_many_ports_there_are_so_many_callers_are_remembered_in_all(
    seen: PlaintextCalls, now: list[float]
) -> None:
    for number in range(IN_ALL + 10):
        now[0] += 0.01
        seen.record(Place(a_key(f"s{number}"), 80), "10.0.0.7", Spoken.TCP)
        seen.record(Place(a_key("s0"), 80), "10.0.0.7", Spoken.TCP)
    found = {each.place.service.name for each in seen.calls()}
    assert len(found) == IN_ALL
    assert "s0" in found
    assert "s1" not in found
    assert seen.crowded_out == 10


def test_history_is_forgotten(seen: PlaintextCalls, now: list[float]) -> None:
    seen.record(API, "10.0.0.7", Spoken.TCP)
    now[0] += FORGOTTEN_AFTER + 1
    seen.record(API, "10.0.0.8", Spoken.TCP)
    assert [each.address for each in seen.calls()] == ["10.0.0.8"]
    now[0] += FORGOTTEN_AFTER + 1
    assert not list(seen.calls())
