from __future__ import annotations

from agent.backoff import Backoff


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(lambda: 1.0, first=1.0, maximum=10.0)
    assert [backoff.next() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    backoff.reset()
    assert backoff.next() == 1.0


def test_jitter_takes_up_to_a_half() -> None:
    assert Backoff(lambda: 0.0, first=1.0).next() == 0.5


def test_it_can_wait_for_ever() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.next() for _ in range(5000)][-1] == 30.0
