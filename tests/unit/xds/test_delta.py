"""The incremental protocol, rule by rule."""

from __future__ import annotations

import pytest

from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from tests.support.xds_talk import DeltaTalk, a_cache, a_resource, publish, several
from xds.cache import CHUNK, ResourceCache
from xds.errors import ProtocolViolation
from xds.session import Limits
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET


def test_a_first_request_without_names_means_everything_of_clusters_listeners_and_scopes() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, "a b"))).ask(CLUSTER)
    assert talk.said().bodies == {"a": "a=1", "b": "b=1"}


def test_and_nothing_of_other_types() -> None:
    talk = DeltaTalk(a_cache(*several(ENDPOINT, "a b"))).ask(ENDPOINT)
    assert talk.poll() is None


def test_everything_of_nothing_is_answered_too() -> None:
    said = DeltaTalk(a_cache()).ask(LISTENER).said()
    assert (said.names, said.removed) == ([], [])


def test_explicit_names_alone() -> None:
    cache = a_cache(*several(CLUSTER, "a b c"))
    talk = DeltaTalk(cache).ask(CLUSTER, "a", "b")
    (said,) = talk.drain()
    assert said.names == ["a", "b"]
    publish(cache, *several(CLUSTER, "a c d", "2"))
    assert [each.bodies for each in talk.drain()] == [{"a": "a=2"}]


def test_a_star_means_everything_of_any_type() -> None:
    talk = DeltaTalk(a_cache(*several(SECRET, "a b"))).ask(SECRET, "*")
    assert talk.said().names == ["a", "b"]


def test_a_star_with_names_answers_names_that_do_not_exist() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, "a"))).ask(CLUSTER, "*", "a", "nowhere")
    responses = talk.drain()
    assert [name for each in responses for name in each.names] == ["a"]
    assert [name for each in responses for name in each.removed] == ["nowhere"]


def test_names_then_a_star_sends_the_others() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, "a b"))).ask(CLUSTER, "a")
    talk.drain()
    talk.ask(CLUSTER, "*")
    assert [each.names for each in talk.drain()] == [["b"]]


def test_everything_then_a_name_goes_on_to_mean_everything() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = DeltaTalk(cache).ask(CLUSTER)
    talk.drain()
    talk.ask(CLUSTER, "a")
    assert [each.names for each in talk.drain()] == [["a"]]  # asked for, so answered, though it was held
    publish(cache, *several(CLUSTER, "c"))
    assert [each.names for each in talk.drain()] == [["c"]]


def test_to_leave_a_name_ends_its_updates_and_to_come_back_sends_it_again() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = DeltaTalk(cache).ask(CLUSTER, "a", "b")
    talk.drain()
    talk.ask(CLUSTER, leave=["a"])
    publish(cache, *several(CLUSTER, "a", "2"))
    assert talk.drain() == []
    publish(cache, *several(CLUSTER, "a"))
    talk.ask(CLUSTER, "a")
    assert [each.bodies for each in talk.drain()] == [{"a": "a=1"}]


def test_to_leave_a_name_that_the_star_covers_sends_it_again() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, "a b"))).ask(CLUSTER, "*", "a", "nowhere")
    talk.drain()
    talk.ask(CLUSTER, leave=["a", "nowhere"])
    (said,) = talk.drain()
    assert (said.names, said.removed) == (["a"], ["nowhere"])


def test_to_leave_the_star_leaves_the_names() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = DeltaTalk(cache).ask(CLUSTER, "*", "a")
    talk.drain()
    talk.ask(CLUSTER, leave=["*"])
    publish(cache, *several(CLUSTER, "a b c", "2"))
    assert [each.names for each in talk.drain()] == [["a"]]
    talk.ask(CLUSTER, "*")
    assert [each.names for each in talk.drain()] == [["b", "c"]]


def test_a_name_that_nobody_knows_is_answered_at_once_and_sent_when_it_comes() -> None:
    cache = a_cache()
    talk = DeltaTalk(cache).ask(ENDPOINT, "a")
    said = talk.said()
    assert (said.names, said.removed) == ([], ["a"])
    talk.ack(said)
    publish(cache, *several(ENDPOINT, "a"))
    assert [each.names for each in talk.drain()] == [["a"]]


def test_names_asked_for_while_a_response_is_on_its_way_are_sent_after_it() -> None:
    talk = DeltaTalk(a_cache(*several(ENDPOINT, "a b"))).ask(ENDPOINT, "a")
    said = talk.said()
    talk.ask(ENDPOINT, "b")
    assert talk.poll() is None
    talk.ack(said)
    assert [each.names for each in talk.drain()] == [["b"]]


def test_a_name_that_changes_before_it_is_looked_up_is_sent_once() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a")
    talk.drain()
    talk.ask(ENDPOINT, "b")
    publish(cache, *several(ENDPOINT, "b", "2"))
    assert [each.bodies for each in talk.drain()] == [{"b": "b=2"}]


def test_an_ack_may_subscribe_and_leave() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a")
    talk.ack(talk.said(), "b", leave=["a"])
    assert [each.names for each in talk.drain()] == [["b"]]
    publish(cache, *several(ENDPOINT, "a b", "2"))
    assert [each.names for each in talk.drain()] == [["b"]]


def test_nonces_count_in_each_type_and_equal_responses_of_streams_are_equal_bytes() -> None:
    cache = a_cache(*several(CLUSTER, "a"), *several(ENDPOINT, "a"))
    one, two = DeltaTalk(cache).ask(CLUSTER), DeltaTalk(cache).ask(CLUSTER)
    assert one.session.poll(0.0) == two.session.poll(0.0)
    one.ask(ENDPOINT, "a")
    assert one.said().nonce == "1"


def test_an_ack_of_long_ago_is_never_credited_to_a_later_response() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = DeltaTalk(cache).ask(CLUSTER)
    first = talk.said()
    talk.ack(first)
    publish(cache, *several(CLUSTER, "a", "2"))
    second = talk.said()
    talk.ack(first)
    assert talk.acknowledged == [CLUSTER]
    talk.nack(first)
    assert talk.refusals == []
    assert not talk.session.settled
    talk.ack(second)
    assert talk.poll() is None
    assert talk.session.settled


def test_an_ack_with_a_nonce_of_another_type_is_not_credited() -> None:
    cache = a_cache(*several(CLUSTER, "a"), *several(LISTENER, "l"))
    talk = DeltaTalk(cache).ask(CLUSTER).ask(LISTENER)
    said = talk.said()
    assert said.type_url == CLUSTER
    talk.session.receive(DeltaDiscoveryRequest(type_url=LISTENER, response_nonce=said.nonce), 0.0)
    assert talk.acknowledged == []


def test_one_response_of_a_type_at_a_time_and_the_latest_wins() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a", "b")
    talk.drain()
    publish(cache, *several(ENDPOINT, "a", "2"))
    slow = talk.said()
    for content in range(3, 100):
        publish(cache, *several(ENDPOINT, "a", str(content)))
        assert talk.poll() is None
    publish(cache, *several(ENDPOINT, "b", "5"))
    talk.ack(slow)
    assert [each.bodies for each in talk.drain()] == [{"a": "a=99", "b": "b=5"}]


def test_what_changed_back_meanwhile_is_not_sent() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = DeltaTalk(cache).ask(ENDPOINT, "a", "b")
    talk.drain()
    publish(cache, *several(ENDPOINT, "a", "2"))
    publish(cache, *several(ENDPOINT, "a", "1"))
    assert talk.poll() is None
    assert talk.session.settled


def test_a_reconnect_resends_nothing_that_is_unchanged() -> None:
    put = several(CLUSTER, "a b")
    talk = DeltaTalk(a_cache(*put)).ask(CLUSTER, holds={each.name: each.version for each in put})
    assert talk.poll() is None
    assert talk.session.settled
    assert talk.session.states[CLUSTER].overlay == {}


def test_a_reconnect_is_told_what_changed_what_is_new_and_what_went() -> None:
    a, b = several(CLUSTER, "a b")
    cache = a_cache(a, *several(CLUSTER, "b", "2"), *several(CLUSTER, "new"))
    talk = DeltaTalk(cache).ask(CLUSTER, holds={"a": a.version, "b": b.version, "gone": "xyz"})
    responses = talk.drain()
    assert [each.bodies for each in responses if each.names] == [{"b": "b=2", "new": "new=1"}]
    assert [each.removed for each in responses if each.removed] == [["gone"]]
    assert talk.drain() == []


def test_who_comes_back_says_what_it_holds_of_all_types_before_something_is_removed() -> None:
    (old, used), (listener,) = several(CLUSTER, "old used"), several(LISTENER, "l")
    cache = a_cache(used, *several(LISTENER, "l", "2"))
    talk = DeltaTalk(cache).ask(CLUSTER, holds={"old": old.version, "used": used.version})
    assert talk.poll() is None
    assert talk.session.settled  # it keeps nobody waiting
    assert talk.session.poll_at() == 1.0
    talk.ask(LISTENER, holds={"l": listener.version})
    changed = talk.said()
    assert (changed.type_url, changed.names) == (LISTENER, ["l"])
    talk.now = 1.0
    assert talk.poll() is None  # the removal waits for the listener
    talk.ack(changed)
    assert talk.said().removed == ["old"]


def test_a_separate_service_has_nothing_to_wait_for() -> None:
    talk = DeltaTalk(a_cache(), only_type=CLUSTER).ask(CLUSTER, holds={"old": "1"})
    assert talk.said().removed == ["old"]


def test_a_reconnect_with_names_is_told_of_those_that_do_not_exist() -> None:
    (a,) = several(ENDPOINT, "a")
    talk = DeltaTalk(a_cache(a)).ask(ENDPOINT, "a", "never", "gone", holds={"a": a.version, "gone": "1"})
    responses = talk.drain()
    assert sorted(name for each in responses for name in each.removed) == ["gone", "never"]
    assert [name for each in responses for name in each.names] == []


def test_a_reconnect_with_what_it_no_longer_wants_is_told_nothing_of_it() -> None:
    (a,) = several(ENDPOINT, "a")
    talk = DeltaTalk(a_cache(a)).ask(ENDPOINT, "a", holds={"a": a.version, "b": "1"})
    assert talk.drain() == []


def test_a_reconnect_before_the_scopes_are_ready_waits_and_then_costs_nothing() -> None:
    (a,) = several(CLUSTER, "a")
    cache = ResourceCache()
    cache.open()
    talk = DeltaTalk(cache).ask(CLUSTER, holds={"a": a.version})
    assert talk.poll() is None
    publish(cache, a)
    assert talk.poll() is None
    assert talk.session.settled


def test_large_answers_come_in_pieces_of_bounded_size() -> None:
    put = [a_resource(ROUTE, f"r{number}", size=100_000) for number in range(40)]
    cache = a_cache(*put)
    talk = DeltaTalk(cache).ask(ROUTE, *(each.name for each in put))
    first = talk.drain()
    assert len(first) >= 4
    assert sorted(name for each in first for name in each.names) == sorted(each.name for each in put)
    publish(cache, *(a_resource(ROUTE, each.name, "2", size=100_000) for each in put))
    second = talk.drain()
    assert len(second) >= 4
    assert max(each.size for each in (*first, *second)) < CHUNK + 200_000


def test_many_removals_come_in_pieces_too() -> None:
    names = [f"{number}-" + "x" * 1000 for number in range(3000)]
    cache = a_cache(*(a_resource(SECRET, name) for name in names))
    talk = DeltaTalk(cache).ask(SECRET, "*")
    talk.drain()
    publish(cache, removed=[(SECRET, name) for name in names])
    responses = talk.drain()
    assert max(each.size for each in responses) < CHUNK + 5000
    assert sorted(name for each in responses for name in each.removed) == sorted(names)


def test_a_separate_service_takes_requests_without_a_type_and_no_other_type() -> None:
    talk = DeltaTalk(a_cache(*several(CLUSTER, "a")), only_type=CLUSTER).ask("")
    said = talk.said()
    assert said.type_url == CLUSTER
    talk.session.receive(DeltaDiscoveryRequest(response_nonce=said.nonce), 0.0)
    assert talk.acknowledged == [CLUSTER]
    with pytest.raises(ProtocolViolation, match="use ADS"):
        talk.ask(LISTENER)


def test_nonsense_ends_the_stream() -> None:
    limits = Limits(names=3, name_length=10, types=2)
    talk = DeltaTalk(a_cache(), limits=limits).ask(ENDPOINT, "a", "b", "c")
    with pytest.raises(ProtocolViolation, match="type URL"):
        talk.ask("nonsense")
    with pytest.raises(ProtocolViolation, match="names"):
        talk.ask(ENDPOINT, "d")
    with pytest.raises(ProtocolViolation, match="characters"):
        talk.ask(ENDPOINT, "x" * 11)
    talk.ask(CLUSTER)
    with pytest.raises(ProtocolViolation, match="types"):
        talk.ask(LISTENER)
