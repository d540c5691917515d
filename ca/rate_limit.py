"""How often joining may be tried: token buckets, per peer and in all, in bounded memory."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from ca.recent import Recent

Monotonic = Callable[[], float]
"""Seconds from a clock that never goes back, as `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once, then `per_second`."""

    burst: float
    per_second: float


class Bucket:
    """A token bucket that is full at first."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._at = now

    def left(self, now: float) -> float:
        self._left = min(self._rate.burst, self._left + max(0.0, now - self._at) * self._rate.per_second)
        self._at = now
        return self._left

    def take(self) -> None:
        self._left -= 1

    def give_back(self) -> None:
        self._left = min(self._rate.burst, self._left + 1)


class AttemptLimit:
    """Bounds attempts per peer and in all. A success is given back, so that many good peers behind one address all get in."""

    def __init__(
        self,
        monotonic: Monotonic,
        per_peer: Rate = Rate(burst=20, per_second=1),
        in_all: Rate = Rate(burst=200, per_second=50),
        remembered_peers: int = 4096,
    ) -> None:
        self._monotonic = monotonic
        self._per_peer = per_peer
        self._peers: Recent[str, Bucket] = Recent(remembered_peers)
        self._all = Bucket(in_all, monotonic())

    def attempt(self, peer: str, *, in_all: bool = True) -> bool:
        """Whether `peer` may try now; if so, the attempt is counted.

        Without `in_all` only the peer's own rate counts, so that strangers cannot keep out those that we know.
        """
        now = self._monotonic()
        bucket = self._peers.use(peer, lambda: Bucket(self._per_peer, now))
        if bucket.left(now) < 1 or (in_all and self._all.left(now) < 1):
            return False
        bucket.take()
        if in_all:
            self._all.take()
        return True

    def succeeded(self, peer: str) -> None:
        """The attempt of `peer` was a good one and does not count."""
        if (bucket := self._peers.get(peer)) is not None:
            bucket.give_back()
        self._all.give_back()


def peer_host(peer: str) -> str:
    """The part of gRPC's `context.peer()` that an attacker cannot change at will: the address without the port, the /64
    of an IPv6 address.
    """
    scheme, _, rest = urllib.parse.unquote(peer).partition(":")
    if scheme == "ipv4":
        return rest.rpartition(":")[0] or rest
    if scheme == "ipv6":
        address = rest.rpartition("]")[0].removeprefix("[").partition("%")[0]
        try:
            return str(ipaddress.IPv6Network((address, 64), strict=False))
        except ValueError:
            return rest
    return peer
