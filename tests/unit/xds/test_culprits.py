"""A refusal says which resources are refused for certain: those that are named, or alone. The others are tried apart first."""

from __future__ import annotations

from tests.support.xds_talk import DeltaTalk, a_cache, several
from xds.types import CLUSTER

NAMES = "a b c d"


def test_one_that_is_named_is_a_culprit_with_what_it_was() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, NAMES))).ask(CLUSTER)
    talk.nack(talk.said(), "Error adding/updating cluster(s) b: no")
    ((_, refusal),) = talk.refusals
    assert [each.name for each in refusal.culprits] == ["b"]
    assert refusal.culprits[0].version == several(CLUSTER, "b")[0].version


def test_where_none_is_named_there_is_none_until_it_is_alone() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, NAMES))).ask(CLUSTER)
    said = talk.said()
    while True:
        bad = "c" in said.names
        if bad:
            talk.nack(said)
            if talk.refusals[-1][1].culprits:
                break
        else:
            talk.ack(said)
        said = talk.said()
    assert [[each.name for each in refusal.culprits] for _, refusal in talk.refusals] == [[], [], ["c"]]
