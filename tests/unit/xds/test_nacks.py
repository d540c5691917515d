"""NACK: who is to blame, what gets through, what stays back and what is kept."""

from __future__ import annotations

import pytest

from tests.support.xds_talk import DeltaTalk, Said, SotwTalk, a_cache, a_resource, publish, several
from xds.refusals import parts
from xds.resource import Name
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE

Talk = DeltaTalk | SotwTalk
BOTH = pytest.mark.parametrize("kind_of_talk", [DeltaTalk, SotwTalk])


def bad(said: Said) -> list[str]:
    return [name for name, body in said.bodies.items() if "bad" in body]


def judge(talk: Talk, *, naming: bool) -> list[Said]:
    """Acknowledge what is good, refuse responses with something bad, until there are no more."""
    responses = []
    while (said := talk.poll() or talk.poll_later()) is not None:
        responses.append(said)
        assert len(responses) < 200, "it never ends"
        if bad(said):
            text = f"Error adding/updating cluster(s) {', '.join(bad(said))}: no" if naming else "no"
            talk.nack(said, text)
        else:
            talk.ack(said)
    return responses


def accepted(responses: list[Said]) -> dict[str, str]:
    held: dict[str, str] = {}
    for each in responses:
        if not bad(each):
            held.update(each.bodies)
    return held


# Blame (how names are found: test_refusals)


def test_one_named_is_the_culprit_and_several_are_tried_apart() -> None:
    assert parts(["a", "b", "c"], "b: no") == (["b"], [])
    assert parts(["a", "b", "c"], "b: no, c: no") == ([], [("a",), ("b", "c")])
    assert parts(["a", "b"], "b: no, a: no") == ([], [("a",), ("b",)])
    assert parts(["a", "b", "c", "d"], "no") == ([], [("a", "b"), ("c", "d")])
    assert parts(["a"], "no") == (["a"], [])
    assert parts([], "no") == ([], [])


@BOTH
def test_a_refusal_is_recorded_with_what_it_blames_and_where_that_came_from(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(
        a_resource(CLUSTER, "a", origin=["a.yaml"]), a_resource(CLUSTER, "b", origin=["b.yaml", "consul"])
    )
    talk = kind_of_talk(cache).ask(CLUSTER)
    talk.now = 17.0
    said = talk.said()
    talk.nack(said, "Error adding/updating cluster(s) b: no such filter")
    ((kind, refusal),) = talk.refusals
    assert kind == CLUSTER
    assert refusal is talk.session.states[CLUSTER].refusal
    assert (refusal.names, refusal.origin) == (("b",), ("b.yaml", "consul"))
    assert (refusal.nonce, refusal.version, refusal.at) == (said.nonce, said.version, 17.0)
    assert "no such filter" in refusal.message
    assert talk.session.states[CLUSTER].acknowledged == 0


def test_a_refusal_that_names_nothing_blames_all_and_long_messages_are_cut() -> None:
    talk = DeltaTalk(a_cache(*several(ENDPOINT, "a b"))).ask(ENDPOINT, "a", "b")
    talk.nack(talk.said(), "x" * 100_000)
    ((_, refusal),) = talk.refusals
    assert sorted(refusal.names) == ["a", "b"]
    assert len(refusal.message) == 4096


# The good get through, the bad stay back


@BOTH
@pytest.mark.parametrize("naming", [True, False])
@pytest.mark.parametrize("kind", [CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE])
@pytest.mark.parametrize("culprits", ["d", "a h", "a b c d e f g h", "c d e"])
def test_good_resources_get_through_whoever_is_to_blame(
    kind_of_talk: type[Talk], kind: str, culprits: str, *, naming: bool
) -> None:
    names = "a b c d e f g h"
    cache = a_cache(*several(kind, names))
    talk = kind_of_talk(cache).ask(kind, *names.split())
    talk.drain()
    publish(cache, *several(kind, names, "2"))
    publish(cache, *several(kind, culprits, "bad"))
    held = accepted(judge(talk, naming=naming))
    for name in names.split():
        if name not in culprits.split():
            assert held[name] == f"{name}=2"
        else:
            assert held.get(name, f"{name}=1") == f"{name}=1"
    state = talk.session.states[kind]
    assert sorted(state.quarantine) == culprits.split()
    assert talk.session.settled
    assert [refusal for _, refusal in talk.refusals][-1] is state.refusal

    # Held back until its content changes.
    publish(cache, *several(kind, "z"))
    assert not [each for each in judge(talk, naming=naming) if bad(each)]
    publish(cache, *several(kind, culprits, "3"))
    held = accepted(judge(talk, naming=naming))
    assert all(held[name] == f"{name}=3" for name in culprits.split())
    settled = talk.session.states[kind]
    assert (settled.quarantine, settled.refusal, settled.overlay) == ({}, None, {})


@BOTH
def test_a_first_configuration_with_one_bad_resource(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a b c"), *several(CLUSTER, "d", "bad"))
    talk = kind_of_talk(cache).ask(CLUSTER)
    assert sorted(accepted(judge(talk, naming=False))) == ["a", "b", "c"]


def test_a_whole_response_goes_on_to_hold_what_the_client_had_in_place_of_what_it_refused() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = SotwTalk(cache).ask(CLUSTER)
    talk.drain()
    publish(cache, *several(CLUSTER, "b", "2"))
    talk.drain()
    publish(cache, *several(CLUSTER, "b", "bad"))
    judge(talk, naming=True)
    publish(cache, *several(CLUSTER, "a", "2"))
    assert [each.bodies for each in judge(talk, naming=True)] == [{"a": "a=2", "b": "b=2"}]
    publish(cache, *several(CLUSTER, "b", "worse bad"))
    judge(talk, naming=True)
    publish(cache, *several(CLUSTER, "a", "3"))
    assert [each.bodies for each in judge(talk, naming=True)] == [{"a": "a=3", "b": "b=2"}]


def test_whole_responses_in_halves_never_leave_out_what_works() -> None:
    names = "a b c d e f g h"
    cache = a_cache(*several(CLUSTER, names))
    talk = SotwTalk(cache).ask(CLUSTER)
    talk.drain()
    publish(cache, *several(CLUSTER, names, "2"), *several(CLUSTER, "c", "bad"))
    assert {len(each.names) for each in judge(talk, naming=False)} == {8}


@BOTH
def test_what_a_client_had_before_is_sent_again_after_a_refusal(kind_of_talk: type[Talk]) -> None:
    """Some of a refused response may have been applied, nobody knows what."""
    cache = a_cache(*several(ENDPOINT, "a"))
    talk = kind_of_talk(cache).ask(ENDPOINT, "a")
    talk.drain()
    publish(cache, *several(ENDPOINT, "a", "bad"))
    judge(talk, naming=False)
    publish(cache, *several(ENDPOINT, "a", "1"))
    assert [each.bodies for each in judge(talk, naming=False)] == [{"a": "a=1"}]


@BOTH
def test_content_that_came_meanwhile_was_not_refused(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(ENDPOINT, "a"))
    talk = kind_of_talk(cache).ask(ENDPOINT, "a")
    talk.drain()
    publish(cache, *several(ENDPOINT, "a", "bad"))
    said = talk.said()
    publish(cache, *several(ENDPOINT, "a", "3"))
    talk.nack(said)
    assert [each.bodies for each in judge(talk, naming=False)] == [{"a": "a=3"}]
    assert talk.session.states[ENDPOINT].quarantine == {}


@BOTH
def test_content_that_is_back_after_other_bad_content_is_tried_again(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = kind_of_talk(cache).ask(CLUSTER)
    talk.drain()
    versions = []
    for content in ("bad2", "bad3", "bad2"):
        (resource,) = several(CLUSTER, "a", content)
        publish(cache, resource)
        judge(talk, naming=True)
        versions.append(talk.session.states[CLUSTER].quarantine == {"a": resource.version})
    assert versions == [True, True, True]
    assert len(talk.refusals) == 3


def test_a_refused_resource_that_is_removed_is_told() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = DeltaTalk(cache).ask(CLUSTER)
    talk.drain()
    publish(cache, *several(CLUSTER, "b", "bad"))
    judge(talk, naming=True)
    publish(cache, removed=[(CLUSTER, "b")])
    assert [each.removed for each in judge(talk, naming=True)] == [["b"]]


def test_who_comes_back_refuses_and_is_told_of_the_removal() -> None:
    (before,) = several(CLUSTER, "b")
    cache = a_cache(*several(CLUSTER, "b", "bad"))
    talk = DeltaTalk(cache).ask(CLUSTER, holds={"b": before.version})
    judge(talk, naming=True)
    publish(cache, removed=[(CLUSTER, "b")])
    assert [each.removed for each in judge(talk, naming=True)] == [["b"]]


def test_what_is_asked_for_again_is_tried_again() -> None:
    cache = a_cache(*several(ENDPOINT, "a", "bad"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a")
    judge(talk, naming=False)
    talk.ask(ENDPOINT, leave=["a"])
    talk.ask(ENDPOINT, "a")
    assert talk.said().names == ["a"]


def test_halving_goes_on_though_something_else_is_answered_in_between() -> None:
    names = "a b c d"
    cache = a_cache(*several(ENDPOINT, names))
    talk = DeltaTalk(cache).ask(ENDPOINT, *names.split())
    talk.drain()
    publish(cache, *several(ENDPOINT, names, "2"), *several(ENDPOINT, "c", "bad"))
    talk.nack(talk.said())
    talk.ask(ENDPOINT, "nowhere")
    publish(cache, *several(ENDPOINT, "a", "3"))
    assert accepted(judge(talk, naming=False)) == {"a": "a=3", "b": "b=2", "d": "d=2"}


# Dependants


NEEDS: dict[str, list[Name]] = {name: [(CLUSTER, name), (ENDPOINT, name)] for name in ("old", "new", "other")}


def routed(talk: Talk) -> Talk:
    talk.ask(CLUSTER).ask(ENDPOINT, "old", "new", "other").ask(LISTENER).ask(ROUTE, "r", "s")
    talk.drain()
    return talk


@BOTH
def test_what_refers_to_a_refused_resource_stays_back_for_that_client_alone(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "old"), a_resource(ROUTE, "r", needs=NEEDS["old"]))
    picky, easy = routed(kind_of_talk(cache)), routed(kind_of_talk(cache))
    publish(
        cache,
        *several(CLUSTER, "new", "bad"),
        *several(CLUSTER, "other"),
        a_resource(ROUTE, "r", "2", needs=NEEDS["new"]),
        a_resource(ROUTE, "s", "2", needs=NEEDS["other"]),
    )
    held = accepted(judge(picky, naming=True))
    assert "s" in held
    assert "r" not in held
    assert picky.session.settled
    assert {name for each in easy.drain() for name in each.names} >= {"new", "other", "r", "s"}
    publish(cache, *several(CLUSTER, "new", "good"))
    held = accepted(judge(picky, naming=True))
    assert held["r"] == "r=2"
    assert picky.session.states[ROUTE].overlay == {}


def test_it_stays_back_even_if_it_refers_by_way_of_others() -> None:
    cache = a_cache(*several(CLUSTER, "old"))
    talk = routed(DeltaTalk(cache))
    publish(
        cache,
        *several(CLUSTER, "new", "bad"),
        a_resource(LISTENER, "l", "2", needs=[(CLUSTER, "new")]),
        a_resource(ROUTE, "r", "2", needs=[(LISTENER, "l")]),
    )
    assert accepted(judge(talk, naming=True)) == {}
    assert talk.session.settled


def test_a_first_answer_leaves_out_what_refers_to_a_refused_resource() -> None:
    cache = a_cache(
        *several(CLUSTER, "old"),
        *several(CLUSTER, "new", "bad"),
        a_resource(LISTENER, "l", needs=[(CLUSTER, "new")]),
        a_resource(LISTENER, "m", needs=[(CLUSTER, "old")]),
    )
    talk = DeltaTalk(cache).ask(CLUSTER).ask(LISTENER)
    assert sorted(accepted(judge(talk, naming=True))) == ["m", "old"]


@BOTH
def test_a_first_answer_of_which_all_stays_back_is_given_all_the_same(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "new", "bad"), a_resource(LISTENER, "l", needs=[(CLUSTER, "new")]))
    talk = kind_of_talk(cache).ask(CLUSTER).ask(LISTENER)
    responses = judge(talk, naming=True)
    assert [each.names for each in responses if each.type_url == LISTENER] == [[]]
    assert talk.session.settled


@BOTH
@pytest.mark.parametrize("refused", ["cluster", "route"])
def test_what_a_client_still_uses_is_not_removed(kind_of_talk: type[Talk], refused: str) -> None:
    cache = a_cache(
        *several(CLUSTER, "old unused"),
        *several(ENDPOINT, "old"),
        a_resource(ROUTE, "r", needs=NEEDS["old"]),
    )
    talk = routed(kind_of_talk(cache))
    publish(
        cache,
        *several(CLUSTER, "new", "bad" if refused == "cluster" else "1"),
        a_resource(ROUTE, "r", "bad" if refused == "route" else "2", needs=NEEDS["new"]),
        removed=[(CLUSTER, "old"), (CLUSTER, "unused")],
    )
    responses = judge(talk, naming=True)
    clusters = [each for each in responses if each.type_url == CLUSTER]
    assert not any("old" in each.removed for each in clusters)
    if isinstance(talk, SotwTalk):
        assert all("old" in each.names for each in clusters)
        assert "unused" not in clusters[-1].names
    else:
        assert clusters[-1].removed == ["unused"]
    assert talk.session.settled
    # Once it is mended, what was kept goes.
    publish(cache, *several(CLUSTER, "new", "3"), a_resource(ROUTE, "r", "3", needs=NEEDS["new"]))
    last = [each for each in judge(talk, naming=True) if each.type_url == CLUSTER][-1]
    assert last.removed == ["old"] or (isinstance(talk, SotwTalk) and last.names == ["new"])


def test_a_route_that_went_and_came_back_is_still_held_as_it_was() -> None:
    """In the state of the world nobody is told that a route has gone, so it is held until nothing refers to it."""
    cache = a_cache(*several(CLUSTER, "old"), a_resource(ROUTE, "r", needs=NEEDS["old"]))
    talk = routed(SotwTalk(cache))
    publish(cache, removed=[(ROUTE, "r")])
    judge(talk, naming=True)
    publish(
        cache,
        *several(CLUSTER, "new"),
        a_resource(ROUTE, "r", "bad", needs=NEEDS["new"]),
        removed=[(CLUSTER, "old")],
    )
    assert all("old" in each.names for each in judge(talk, naming=True) if each.type_url == CLUSTER)


def test_nothing_is_removed_from_who_came_with_what_we_never_saw_and_refuses_the_new() -> None:
    (old,) = several(CLUSTER, "old")
    route = a_resource(ROUTE, "r", "1", needs=NEEDS["old"])
    cache = a_cache(*several(CLUSTER, "new"), a_resource(ROUTE, "r", "bad", needs=NEEDS["new"]))
    talk = (
        DeltaTalk(cache).ask(CLUSTER, holds={"old": old.version}).ask(ROUTE, "r", holds={"r": route.version})
    )
    assert not [each for each in judge(talk, naming=True) if each.removed]
    publish(cache, a_resource(ROUTE, "r", "2", needs=NEEDS["new"]))
    assert [each.removed for each in judge(talk, naming=True) if each.removed] == [["old"]]
