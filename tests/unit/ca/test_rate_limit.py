from __future__ import annotations

import pytest

from ca.rate_limit import AttemptLimit, Rate, peer_host


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_peer_is_held_to_its_rate() -> None:
    time = Seconds()
    limit = AttemptLimit(time, per_peer=Rate(3, 1), in_all=Rate(100, 100))
    assert [limit.attempt("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert limit.attempt("b")
    time.now = 2.0
    assert [limit.attempt("a") for _ in range(3)] == [True, True, False]


def test_all_peers_together_are_held_to_theirs() -> None:
    time = Seconds()
    limit = AttemptLimit(time, per_peer=Rate(3, 1), in_all=Rate(5, 1))
    assert sum(limit.attempt(f"peer {number}") for number in range(20)) == 5
    time.now = 1.0
    assert sum(limit.attempt(f"peer {number}") for number in range(20)) == 1


def test_successes_do_not_count() -> None:
    limit = AttemptLimit(Seconds(), per_peer=Rate(2, 0), in_all=Rate(2, 0))
    for _ in range(500):
        assert limit.attempt("a")
        limit.succeeded("a")


def test_memory_is_bounded() -> None:
    limit = AttemptLimit(Seconds(), per_peer=Rate(1, 0), in_all=Rate(1e9, 0), remembered_peers=10)
    for number in range(1000):
        limit.attempt(str(number))
    assert len(limit._peers) == 10
    limit.succeeded("0")  # forgotten, which is no error


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:4711", "127.0.0.1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::/64"),
        ("ipv6:%5B2001:db8::ffff%5D:4711", "2001:db8::/64"),
        ("ipv6:[fe80::1%eth0]:1", "fe80::/64"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_a_peer_is_its_host(peer: str, host: str) -> None:
    assert peer_host(peer) == host
