"""Who may write what into a lease, seen by one candidate: without a server."""

from __future__ import annotations

from datetime import UTC, datetime

from kube.election import LASTS, Election
from kube.resource import Object

WALL = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)


def a_lease(holder: str, version: str = "1", lasts: int = 15) -> Object:
    return {
        "metadata": {"namespace": "n", "name": "l", "resourceVersion": version},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": lasts, "leaseTransitions": 4},
    }


def election() -> Election:
    return Election("n", "l", "me")


def test_the_first_creates_it() -> None:
    made = election().first(WALL)
    assert made["metadata"] == {"namespace": "n", "name": "l"}
    assert made["spec"]["holderIdentity"] == "me"
    assert made["spec"]["renewTime"] == "2026-01-02T03:04:05.000600Z"


def test_another_s_lease_is_left_until_it_was_seen_unchanged_for_as_long_as_it_lasts() -> None:
    me = election()
    assert me.look(a_lease("other"), 100.0, WALL) is None
    assert me.holder == "other"
    assert me.look(a_lease("other"), 114.9, WALL) is None
    assert me.look(a_lease("other", version="2"), 115.1, WALL) is None  # it was renewed meanwhile
    assert me.look(a_lease("other", version="2"), 129.0, WALL) is None
    taken = me.look(a_lease("other", version="2"), 130.2, WALL)
    assert taken is not None
    assert taken["spec"]["holderIdentity"] == "me"
    assert taken["spec"]["leaseTransitions"] == 5
    assert taken["metadata"]["resourceVersion"] == "2"  # so that two who find it over cannot both have it


def test_a_lease_that_says_it_lasts_for_ever_is_not_believed() -> None:
    me = election()
    assert me.look(a_lease("ghost", lasts=2_000_000_000), 100.0, WALL) is None
    assert me.look(a_lease("ghost", lasts=2_000_000_000), 159.0, WALL) is None
    assert me.look(a_lease("ghost", lasts=2_000_000_000), 160.1, WALL) is not None


def test_one_that_was_given_away_is_taken_at_once() -> None:
    taken = election().look(a_lease(""), 1.0, WALL)
    assert taken is not None
    assert taken["spec"]["holderIdentity"] == "me"
    assert taken["spec"]["leaseDurationSeconds"] == LASTS


def test_our_own_is_renewed_and_no_transition() -> None:
    renewed = election().look(a_lease("me"), 1.0, WALL)
    assert renewed is not None
    assert renewed["spec"]["leaseTransitions"] == 4


def test_only_our_own_is_given_away() -> None:
    assert election().release(a_lease("other"), WALL) is None
    released = election().release(a_lease("me"), WALL)
    assert released is not None
    assert released["spec"]["holderIdentity"] == ""
    assert released["spec"]["leaseDurationSeconds"] > 0
