"""A change of a service finds the scopes that see it, and asks no other."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.names import Key
from mesh.views import OutboundScope
from meshwright.scopes import Captured, Outbound, Peers, Proxyless, Scope, Secrets
from meshwright.seeing import Seeing

A, B, C = (Key("default", name) for name in "abc")


class Asked(tuple[Key, ...]):
    """A scope's services, that tell how often they are walked."""

    __slots__ = ()
    walks = 0

    def __iter__(self) -> Iterator[Key]:
        Asked.walks += 1
        return super().__iter__()


def outbound(*services: Key) -> Outbound:
    return Outbound(OutboundScope("default", services))


def test_those_that_see_one_are_found_with_what_they_see() -> None:
    everything, ab, b = Outbound(OutboundScope("default", None)), outbound(A, B), outbound(B)
    captured, peers = Captured("default", (B,), 15053, ipv6=False), Peers(B)
    proxyless = Proxyless(OutboundScope("default", (A,)))
    seeing = Seeing()
    every: tuple[Scope, ...] = (everything, ab, b, captured, peers, proxyless, Secrets(A), Peers(None))
    for each in every:
        seeing.add(each)
    assert dict(seeing.of({A, C})) == {
        everything: {A, C},
        ab: {A},
        proxyless: {A},
    }
    assert dict(seeing.of({A, B})) == {
        everything: {A, B},
        ab: {A, B},
        b: {B},
        captured: {B},
        peers: {B},
        proxyless: {A},
    }
    assert list(seeing.of(())) == []
    for each in every:
        seeing.remove(each)
    assert list(seeing.of({A, B})) == []


def test_who_does_not_see_it_is_not_asked() -> None:
    seeing = Seeing()
    seeing.add(Outbound(OutboundScope("default", Asked((A, B)))))
    Asked.walks = 0
    assert list(seeing.of({C})) == []
    assert Asked.walks == 0
