"""Which trust domains may be set after which: nobody is to meet anybody who does not know that both are one mesh."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ca.move
from ca.errors import CannotMove
from ca.move import OPEN, Known, begin, heard
from mesh.identity import TrustDomains

OLD, NEW = "old.example", "new.example"
ONLY_OLD, BOTH_OLD = TrustDomains(OLD), TrustDomains(OLD, (NEW,))
BOTH_NEW, ONLY_NEW = TrustDomains(NEW, (OLD,)), TrustDomains(NEW)


NOW = datetime(2030, 1, 1, tzinfo=UTC)


def become(before: Known, domains: TrustDomains, held: Mapping[str, Sequence[str]]) -> Known:
    return ca.move.become(before, domains, held, NOW)


def of(trust_domain: str, *workloads: str) -> Mapping[str, tuple[str, ...]]:
    return {trust_domain: workloads or ("default/web-1",)}


def test_there_and_back() -> None:
    known = begin(ONLY_OLD)
    for domains, held in (
        (BOTH_OLD, of(OLD)),
        (BOTH_NEW, of(OLD)),
        (ONLY_NEW, of(NEW)),
        (BOTH_NEW, of(NEW)),
        (BOTH_OLD, of(NEW)),
        (ONLY_OLD, of(OLD)),
    ):
        known = heard(become(known, domains, held))
        assert replace(known, left=()) == begin(domains)


def test_not_before_everybody_accepts_it() -> None:
    with pytest.raises(CannotMove, match=r"set trust_domain to old\.example and .* \[new\.example\] first"):
        become(begin(ONLY_OLD), BOTH_NEW, of(OLD))
    preparing = become(begin(ONLY_OLD), BOTH_OLD, of(OLD))
    with pytest.raises(CannotMove, match="not every proxy accepts"):
        become(preparing, BOTH_NEW, of(OLD))
    assert become(heard(preparing), BOTH_NEW, of(OLD)).domains == BOTH_NEW


def test_not_away_while_anybody_has_a_certificate_of_it() -> None:
    moved = heard(become(begin(BOTH_OLD), BOTH_NEW, of(OLD)))
    with pytest.raises(CannotMove, match=r"a0, .* default/a4 and 3 more may hold certificates of old"):
        become(moved, ONLY_NEW, {**of(OLD, *(f"default/a{n}" for n in range(8))), **of(NEW)})
    with pytest.raises(CannotMove, match=r"\(unknown\) may hold"):
        become(moved, ONLY_NEW, of("", ""))
    assert become(moved, ONLY_NEW, of(NEW)) == replace(begin(ONLY_NEW), left=((OLD, NOW + OPEN),))


def test_what_was_an_alias_is_remembered_as_long_as_connections_may_be_open() -> None:
    gone = become(begin(BOTH_NEW), ONLY_NEW, of(NEW))
    assert become(heard(gone), ONLY_NEW, of(NEW)).left == ((OLD, NOW + OPEN),)
    assert ca.move.become(gone, ONLY_NEW, of(NEW), NOW + OPEN).left == ()
    assert become(gone, BOTH_NEW, of(NEW)).left == ()  # it is an alias again


def test_not_away_while_anybody_may_ask_by_its_name() -> None:
    moved = become(begin(BOTH_OLD), BOTH_NEW, of(OLD))
    with pytest.raises(CannotMove, match=r"not every proxy has heard that this mesh is new\.example"):
        become(moved, ONLY_NEW, of(NEW))


def test_turning_back_waits_for_nobody() -> None:
    assert become(become(begin(ONLY_OLD), BOTH_OLD, of(OLD)), ONLY_OLD, of(OLD)).heard
    moved = become(begin(BOTH_OLD), BOTH_NEW, of(OLD))
    back = become(moved, BOTH_OLD, {**of(OLD), **of(NEW, "default/api-1")})
    assert not back.heard
    with pytest.raises(CannotMove, match="default/api-1 may hold"):
        become(heard(back), ONLY_OLD, of(NEW, "default/api-1"))


def test_a_mesh_without_proxies_is_what_it_is_called() -> None:
    assert become(begin(ONLY_OLD), ONLY_NEW, {}) == begin(ONLY_NEW)


@dataclass
class Mesh:
    """Proxies that hear of what is set one after another. `asks` and `accepts` are what they go by, `leaf` the trust domain of theirs."""

    known: Known = field(default_factory=lambda: begin(ONLY_OLD))
    asks: list[str] = field(default_factory=lambda: [OLD, OLD, OLD])
    accepts: list[frozenset[str]] = field(default_factory=lambda: [frozenset({OLD})] * 3)
    leaf: list[str] = field(default_factory=lambda: [OLD, OLD, OLD])

    def set(self, domains: TrustDomains) -> None:
        held: dict[str, list[str]] = {}
        for number, each in enumerate(self.leaf):
            held.setdefault(each, []).append(f"default/{number}")
        try:
            self.known = become(self.known, domains, held)
        except CannotMove:
            return

    def hear(self, number: int) -> None:
        domains = self.known.domains
        self.asks[number], self.accepts[number] = domains.own, frozenset(domains.all)
        if set(self.asks) == {domains.own} and set(self.accepts) == {frozenset(domains.all)}:
            self.known = heard(self.known)

    def renew(self, number: int) -> None:
        self.leaf[number] = self.known.domains.own

    def check(self) -> None:
        for caller, callee in itertools.permutations(range(3), 2):
            assert self.asks[caller] in self.accepts[callee]
            assert self.leaf[caller] in self.accepts[callee]
            assert self.leaf[callee] in self.accepts[caller]


STEPS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from((ONLY_OLD, BOTH_OLD, BOTH_NEW, ONLY_NEW))),
    st.tuples(st.sampled_from(("hear", "renew")), st.integers(0, 2)),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_is_set_when_nobody_meets_a_stranger(steps: Iterable[tuple[str, object]]) -> None:
    mesh = Mesh()
    for name, value in steps:
        getattr(mesh, name)(value)
        mesh.check()
