"""Scopes, sharing, generations: what a session has to do with others."""

from __future__ import annotations

import pytest

from tests.support.xds_talk import DeltaTalk, SotwTalk, a_cache, a_resource, publish, several
from xds.cache import ResourceCache, ScopeChange
from xds.types import CLUSTER, ENDPOINT, LISTENER

Talk = DeltaTalk | SotwTalk
BOTH = pytest.mark.parametrize("kind_of_talk", [DeltaTalk, SotwTalk])


# Scopes


@BOTH
def test_a_closed_cache_answers_nobody(kind_of_talk: type[Talk]) -> None:
    cache = ResourceCache()
    publish(cache, *several(CLUSTER, "a"))
    talk = kind_of_talk(cache).ask(CLUSTER)
    assert talk.poll() is None
    assert not talk.session.settled
    cache.open()
    assert [each.names for each in talk.drain()] == [["a"]]


@BOTH
def test_a_stream_with_a_scope_that_is_not_ready_is_held(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = kind_of_talk(cache, "own", "everyone").ask(CLUSTER).ask(ENDPOINT, "x")
    assert talk.poll() is None
    publish(cache, *several(CLUSTER, "b"), *several(ENDPOINT, "x"), scope="own")
    # And it is sent once: the marks of that publication are of what was not looked up yet.
    assert [each.names for each in talk.drain()] == [["a", "b"], ["x"]]


@BOTH
def test_what_changed_while_it_was_held_is_sent_as_it_is_now(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = kind_of_talk(cache, "everyone", "own").ask(CLUSTER)
    publish(cache, *several(CLUSTER, "a", "2"), removed=[(CLUSTER, "b")])
    publish(cache, scope="own")
    assert [each.bodies for each in talk.drain()] == [{"a": "a=2"}]


@BOTH
def test_a_scope_that_is_dropped_leaves_clients_what_they_have(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = kind_of_talk(cache).ask(CLUSTER)
    talk.drain()
    cache.publish([ScopeChange("everyone", drop=True)])
    assert talk.poll() is None
    publish(cache, *several(CLUSTER, "a"), *several(CLUSTER, "b", "2"))
    bodies = [each.bodies for each in talk.drain()]
    assert bodies == [{"b": "b=2"}] if isinstance(talk, DeltaTalk) else [{"a": "a=1", "b": "b=2"}]


def test_the_first_scope_wins_and_what_it_no_longer_has_comes_from_the_next() -> None:
    cache = a_cache(*several(CLUSTER, "a", "common"))
    publish(cache, *several(CLUSTER, "a", "own"), scope="own")
    talk = DeltaTalk(cache, "own", "everyone").ask(CLUSTER)
    assert [each.bodies for each in talk.drain()] == [{"a": "a=own"}]
    publish(cache, *several(CLUSTER, "a", "common 2"))
    assert talk.drain() == []
    publish(cache, removed=[(CLUSTER, "a")], scope="own")
    assert [each.bodies for each in talk.drain()] == [{"a": "a=common 2"}]


def test_other_scopes_send_only_the_difference() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    publish(cache, *several(CLUSTER, "b c"), scope="one")
    publish(cache, *several(CLUSTER, "c d"), scope="two")
    talk = DeltaTalk(cache, "everyone", "one").ask(CLUSTER)
    talk.drain()
    talk.session.rescope(("everyone", "two"))
    assert talk.marked == 1
    assert [(each.names, each.removed) for each in talk.drain()] == [(["d"], []), ([], ["b"])]
    publish(cache, *several(CLUSTER, "b", "2"), scope="one")
    assert talk.marked == 1
    publish(cache, *several(CLUSTER, "d", "2"), scope="two")
    assert [each.names for each in talk.drain()] == [["d"]]


def test_other_scopes_that_hold_the_same_send_nothing() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    publish(cache, *several(CLUSTER, "a"), scope="same")
    talk = DeltaTalk(cache).ask(CLUSTER)
    talk.drain()
    talk.session.rescope(("same",))
    assert talk.drain() == []


@BOTH
def test_other_scopes_before_the_first_answer(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    publish(cache, *several(CLUSTER, "b"), scope="other")
    talk = kind_of_talk(cache, "never").ask(CLUSTER)
    talk.session.rescope(("other",))
    assert [each.names for each in talk.drain()] == [["b"]]


@BOTH
def test_other_scopes_while_a_response_is_on_its_way(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    publish(cache, *several(CLUSTER, "b c"), scope="other")
    talk = kind_of_talk(cache).ask(CLUSTER)
    said = talk.said()
    talk.session.rescope(("other",))
    talk.ack(said)
    responses = talk.drain()
    if isinstance(talk, DeltaTalk):
        assert [(each.names, each.removed) for each in responses] == [(["c"], []), ([], ["a"])]
    else:
        assert [each.names for each in responses] == [["a", "b", "c"], ["b", "c"]]


@BOTH
def test_a_first_answer_is_given_though_what_it_had_is_gone_before_it_is_sent(
    kind_of_talk: type[Talk],
) -> None:
    """Without it a client waits, and one that came back keeps what has gone."""
    cache = a_cache(*several(CLUSTER, "a"))
    talk = kind_of_talk(cache).ask(CLUSTER).ask(LISTENER)
    first = talk.said()
    publish(cache, *several(LISTENER, "l"))
    publish(cache, removed=[(LISTENER, "l")])
    talk.ack(first)
    assert [(each.type_url, each.names) for each in talk.drain()] == [(LISTENER, [])]


# What clients share


def test_equal_clients_share_all_that_is_large() -> None:
    cache = a_cache(*several(CLUSTER, "a b"), *several(ENDPOINT, "a b"))
    talks = [DeltaTalk(cache).ask(CLUSTER).ask(ENDPOINT, "a", "b") for _ in range(10)]
    for talk in talks:
        talk.drain()
    publish(cache, *several(ENDPOINT, "a", "2"))
    for talk in talks:
        talk.drain()
    for kind in (CLUSTER, ENDPOINT):
        states = [talk.session.states[kind] for talk in talks]
        assert len({id(state.subscription) for state in states}) == 1
        assert len({tuple(map(id, state.base)) for state in states}) == 1
        for state in states:
            assert not any((state.overlay, state.dirty, state.queue, state.sent, state.quarantine))


def test_a_slow_client_waits_for_one_response_and_holds_no_more() -> None:
    cache = a_cache(*several(ENDPOINT, "a b c"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a", "b", "c")
    slow = talk.said()
    for content in range(1000):
        publish(cache, *several(ENDPOINT, "a b c", str(content)), at=float(content))
        assert talk.poll() is None
    state = talk.session.states[ENDPOINT]
    assert len(state.dirty) <= 3
    assert len(state.overlay) <= 3
    assert len(talk.session._generations) <= 256
    talk.ack(slow)
    assert len(talk.drain()) == 1


def test_a_slow_client_delays_nobody() -> None:
    cache = a_cache(*several(ENDPOINT, "a"))
    slow, quick = DeltaTalk(cache).ask(ENDPOINT, "a"), DeltaTalk(cache).ask(ENDPOINT, "a")
    slow.said()
    quick.drain()
    publish(cache, *several(ENDPOINT, "a", "2"))
    assert [each.names for each in quick.drain()] == [["a"]]


def test_a_closed_session_is_not_told_of_anything() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = DeltaTalk(cache).ask(CLUSTER)
    talk.drain()
    talk.session.close()
    publish(cache, *several(CLUSTER, "a", "2"))
    assert talk.marked == 0
    assert cache._scopes["everyone"].groups == {}


def test_what_waits_can_be_seen() -> None:
    cache = a_cache(*(a_resource(CLUSTER, f"c{number}") for number in range(30)))
    talk = DeltaTalk(cache).ask(CLUSTER)
    said = talk.said()
    assert len(talk.session.states[CLUSTER].pending()) == 8
    talk.ack(said)
    publish(cache, *several(CLUSTER, "c3", "2"))
    assert talk.session.states[CLUSTER].pending() == ("c3",)
    talk.drain()
    assert talk.session.states[CLUSTER].pending() == ()


# Generations


def test_a_generation_has_converged_once_after_the_last_acknowledgement() -> None:
    cache = a_cache(*several(CLUSTER, "a"), *several(ENDPOINT, "a"))
    one, two, other = DeltaTalk(cache), DeltaTalk(cache), DeltaTalk(cache)
    for talk in (one, two):
        talk.ask(CLUSTER).ask(ENDPOINT, "a").drain()
    other.ask(LISTENER).drain()
    generation = publish(cache, *several(CLUSTER, "a", "2"), *several(ENDPOINT, "a", "2"), at=5.0)
    one.drain()
    assert (one.converged, two.converged) == ([], [])
    two.drain()
    assert (one.converged, two.converged) == ([], [generation.number])
    assert generation.waiting == set()
    two.drain()
    assert (one.converged, two.converged, other.converged) == ([], [generation.number], [])


def test_one_response_may_be_the_last_of_several_generations() -> None:
    cache = a_cache(*several(ENDPOINT, "a"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a")
    talk.drain()
    numbers = [publish(cache, *several(ENDPOINT, "a", str(n)), at=0.0).number for n in range(2, 5)]
    talk.drain()
    assert talk.converged == numbers


def test_who_leaves_is_not_waited_for_and_has_not_converged() -> None:
    cache = a_cache(*several(ENDPOINT, "a"))
    one, two = DeltaTalk(cache).ask(ENDPOINT, "a"), DeltaTalk(cache).ask(ENDPOINT, "a")
    one.drain()
    two.drain()
    first = publish(cache, *several(ENDPOINT, "a", "2"), at=0.0)
    one.session.close()
    assert one.converged == []
    two.drain()
    assert two.converged == [first.number]
    publish(cache, *several(ENDPOINT, "a", "3"), at=0.0)
    two.session.close()
    assert two.converged == [first.number]


def test_a_client_that_never_answers_makes_nothing_converge() -> None:
    cache = a_cache(*several(ENDPOINT, "a"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a")
    talk.said()
    for content in range(1000):
        publish(cache, *several(ENDPOINT, "a", str(content)), at=0.0)
    assert talk.converged == []


def test_what_a_client_refused_keeps_no_generation_waiting() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = DeltaTalk(cache).ask(CLUSTER)
    talk.drain()
    generation = publish(cache, *several(CLUSTER, "a", "bad"), at=0.0)
    talk.nack(talk.said())
    assert talk.poll() is None
    assert talk.converged == [generation.number]


def test_a_publication_without_a_time_is_not_counted() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = DeltaTalk(cache).ask(CLUSTER)
    talk.drain()
    publish(cache, *several(CLUSTER, "a", "2"))
    talk.drain()
    assert talk.converged == []


# Who has heard of what was published


@BOTH
def test_what_was_published_is_heard_when_its_response_is_acknowledged_whatever_has_come_after(
    kind_of_talk: type[Talk],
) -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = kind_of_talk(cache).ask(CLUSTER)
    talk.drain()
    assert talk.session.heard(talk.now)
    publish(cache, *several(CLUSTER, "a", "2"))
    since = talk.now = talk.now + 1
    assert not talk.session.heard(since)
    first = talk.said()
    publish(cache, *several(CLUSTER, "b", "2"))
    assert not talk.session.heard(since)
    talk.ack(first)
    assert talk.session.heard(since)
    assert not talk.session.heard(since + 0.1)
    talk.drain()
    assert talk.session.heard(since + 0.1)


@BOTH
def test_what_waits_for_another_type_is_not_heard(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a"), *several(LISTENER, "l"))
    talk = kind_of_talk(cache).ask(CLUSTER).ask(LISTENER)
    talk.drain()
    listener = a_resource(LISTENER, "l", "2", needs=[(CLUSTER, "b")])
    publish(cache, *several(CLUSTER, "b"), listener)
    since = talk.now = talk.now + 1
    clusters = talk.said()
    assert clusters.type_url == CLUSTER
    assert not talk.session.heard(since)
    talk.ack(clusters)
    assert not talk.session.heard(since)
    talk.ack(talk.said())
    assert talk.session.heard(since)


@BOTH
def test_a_refusal_is_an_answer_too(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = kind_of_talk(cache).ask(CLUSTER)
    talk.drain()
    publish(cache, *several(CLUSTER, "a", "2"))
    talk.nack(talk.said())
    talk.drain()
    assert talk.session.heard(talk.now)
    assert talk.session.states[CLUSTER].quarantine


def test_who_asked_for_nothing_has_heard_nothing() -> None:
    assert not DeltaTalk(a_cache()).session.heard(0.0)
