from __future__ import annotations

from ratelimit.breaker import Breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(failures=3, pause=0.5)
    for _ in range(5):
        breaker.failed(0.0)
        breaker.failed(0.0)
        assert breaker.admits(0.0)
        breaker.succeeded()
    for _ in range(3):
        assert not breaker.open
        breaker.failed(0.0)
    assert breaker.open


def test_while_open_one_may_try_each_pause_until_one_succeeds() -> None:
    breaker = Breaker(failures=1, pause=0.5)
    breaker.failed(10.0)
    assert [breaker.admits(now) for now in (10.0, 10.4, 10.5, 10.5, 10.9, 11.1)] == [
        False,
        False,
        True,
        False,  # somebody is trying
        False,
        True,  # who tried went away without an answer: the next one
    ]
    breaker.failed(11.2)
    assert not breaker.admits(11.6)
    assert breaker.admits(11.7)
    breaker.succeeded()
    assert all(breaker.admits(11.7) for _ in range(3))
