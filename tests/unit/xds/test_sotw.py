"""The state of the world, rule by rule."""

from __future__ import annotations

import pytest

from pb.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from tests.support.xds_talk import SotwTalk, a_cache, publish, several
from xds.errors import ProtocolViolation
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE

WHOLE = [CLUSTER, LISTENER, SCOPED_ROUTE]


@pytest.mark.parametrize("kind", WHOLE)
def test_an_empty_first_list_means_everything_and_every_response_holds_all(kind: str) -> None:
    cache = a_cache(*several(kind, "a b"))
    talk = SotwTalk(cache).ask(kind)
    assert [each.names for each in talk.drain()] == [["a", "b"]]
    publish(cache, *several(kind, "b c", "2"))
    assert [each.bodies for each in talk.drain()] == [{"a": "a=1", "b": "b=2", "c": "c=2"}]


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_missing_from_a_response_is_removed(kind: str) -> None:
    cache = a_cache(*several(kind, "a b"))
    talk = SotwTalk(cache).ask(kind)
    talk.drain()
    publish(cache, removed=[(kind, "a")])
    assert [each.names for each in talk.drain()] == [["b"]]
    publish(cache, removed=[(kind, "b")])
    assert [each.names for each in talk.drain()] == [[]]


@pytest.mark.parametrize("kind", [ENDPOINT, ROUTE])
def test_of_endpoints_and_routes_only_what_changed_is_sent(kind: str) -> None:
    cache = a_cache(*several(kind, "a b c"))
    talk = SotwTalk(cache).ask(kind, "a", "b")
    assert [each.names for each in talk.drain()] == [["a", "b"]]
    publish(cache, *several(kind, "b c", "2"))
    assert [each.bodies for each in talk.drain()] == [{"b": "b=2"}]
    publish(cache, removed=[(kind, "b")])
    assert talk.drain() == []
    assert talk.session.settled


def test_nothing_is_said_of_endpoints_that_do_not_exist_until_they_do() -> None:
    cache = a_cache()
    talk = SotwTalk(cache).ask(ENDPOINT, "a")
    assert talk.drain() == []
    publish(cache, *several(ENDPOINT, "a"))
    assert [each.names for each in talk.drain()] == [["a"]]


def test_clusters_that_do_not_exist_are_missing_from_the_answer() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    talk = SotwTalk(cache).ask(CLUSTER, "nowhere")
    assert [each.names for each in talk.drain()] == [[]]
    talk.ask(CLUSTER, "nowhere", "a")
    assert [each.names for each in talk.drain()] == [["a"]]
    talk.ask(CLUSTER, "nowhere", "a", "nor there")
    assert [each.names for each in talk.drain()] == [["a"]]


def test_a_name_more_of_clusters_sends_all_and_of_endpoints_that_one() -> None:
    cache = a_cache(*several(CLUSTER, "a b"), *several(ENDPOINT, "a b"))
    talk = SotwTalk(cache).ask(CLUSTER, "a").ask(ENDPOINT, "a")
    talk.drain()
    talk.ask(CLUSTER, "a", "b").ask(ENDPOINT, "a", "b")
    assert [(each.type_url, each.names) for each in talk.drain() if each.type_url == CLUSTER] == [
        (CLUSTER, ["a", "b"])
    ]
    talk.ask(ENDPOINT, "a", "b")
    assert talk.drain() == []


def test_a_name_less_ends_its_updates_without_a_response() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = SotwTalk(cache).ask(ENDPOINT, "a", "b")
    talk.drain()
    talk.ask(ENDPOINT, "b")
    publish(cache, *several(ENDPOINT, "a", "2"))
    assert talk.drain() == []
    talk.ask(ENDPOINT, "a", "b")
    assert [each.bodies for each in talk.drain()] == [{"a": "a=2"}]


def test_a_star_with_names_and_the_end_of_the_star() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    talk = SotwTalk(cache).ask(CLUSTER, "*", "a")
    assert [each.names for each in talk.drain()] == [["a", "b"]]
    talk.ask(CLUSTER, "a")
    publish(cache, *several(CLUSTER, "b", "2"))
    assert talk.drain() == []
    publish(cache, *several(CLUSTER, "a", "2"))
    assert [each.bodies for each in talk.drain()] == [{"a": "a=2"}]


def test_names_then_a_star_sends_everything() -> None:
    talk = SotwTalk(a_cache(*several(CLUSTER, "a b"))).ask(CLUSTER, "a")
    talk.drain()
    talk.ask(CLUSTER, "a", "*")
    assert [each.names for each in talk.drain()] == [["a", "b"]]


def test_an_empty_list_after_a_star_or_after_names_means_nothing() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    star, named, plain = SotwTalk(cache), SotwTalk(cache), SotwTalk(cache)
    star.ask(CLUSTER, "*").drain()
    named.ask(CLUSTER).drain()
    named.ask(CLUSTER, "a").drain()
    plain.ask(CLUSTER).drain()
    for talk in (star, named, plain):
        talk.ask(CLUSTER).drain()
    publish(cache, *several(CLUSTER, "a", "2"))
    assert star.drain() == named.drain() == []
    assert [each.names for each in plain.drain()] == [["a", "b"]]


def test_a_request_with_a_stale_nonce_changes_nothing() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = SotwTalk(cache).ask(ENDPOINT, "a")
    first = talk.said()
    talk.ack(first)
    publish(cache, *several(ENDPOINT, "a", "2"))
    second = talk.said()
    stale = DiscoveryRequest(
        type_url=ENDPOINT, response_nonce=first.nonce, version_info=first.version, resource_names=["b"]
    )
    talk.session.receive(stale, 0.0)
    assert talk.acknowledged == [ENDPOINT]
    assert talk.poll() is None
    talk.ack(second, "a", "b")
    assert [each.names for each in talk.drain()] == [["b"]]


def test_names_may_change_before_the_first_answer() -> None:
    talk = SotwTalk(a_cache(*several(ENDPOINT, "a b c"))).ask(ENDPOINT, "a").ask(ENDPOINT, "b", "c")
    assert [each.names for each in talk.drain()] == [["b", "c"]]


def test_a_reconnect_with_the_same_version_is_not_answered() -> None:
    put = (*several(CLUSTER, "a b"), *several(ENDPOINT, "a b"))
    before = SotwTalk(a_cache(*put)).ask(CLUSTER).ask(ENDPOINT, "a", "b")
    versions = {each.type_url: each.version for each in before.drain()}
    cache = a_cache(*reversed(put))  # another replica, or the same after a restart
    after = SotwTalk(cache).ask(CLUSTER, version=versions[CLUSTER])
    after.ask(ENDPOINT, "a", "b", version=versions[ENDPOINT])
    assert after.poll() is None
    assert after.session.settled
    publish(cache, *several(ENDPOINT, "b", "2"))
    assert [each.names for each in after.drain()] == [["b"]]


def test_a_name_that_comes_after_the_claim_is_answered_whatever_was_claimed() -> None:
    """Envoy says the last version to a new stream, even if it has dropped what came with it."""
    cache = a_cache(*several(ENDPOINT, "a"))
    (before,) = SotwTalk(cache).ask(ENDPOINT, "a").drain()
    for polls in (False, True):
        talk = SotwTalk(cache).ask(ENDPOINT, version=before.version)
        if polls:
            assert talk.poll() is None
        talk.ask(ENDPOINT, "a", version=before.version)
        assert talk.said().names == ["a"]


def test_a_reconnect_with_another_version_is_answered_in_full() -> None:
    talk = SotwTalk(a_cache(*several(CLUSTER, "a"))).ask(CLUSTER, version="old")
    assert [each.names for each in talk.drain()] == [["a"]]


def test_the_version_of_a_partial_response_is_that_of_everything_once_it_is_complete() -> None:
    cache = a_cache(*several(ENDPOINT, "a b"))
    talk = SotwTalk(cache).ask(ENDPOINT, "a", "b")
    talk.drain()
    publish(cache, *several(ENDPOINT, "b", "2"))
    (partial,) = talk.drain()
    again = SotwTalk(cache).ask(ENDPOINT, "a", "b", version=partial.version)
    assert again.poll() is None


def test_the_version_while_something_is_still_to_come_never_stands_for_everything() -> None:
    cache = a_cache(*several(ENDPOINT, "a b c d"))
    talk = SotwTalk(cache).ask(ENDPOINT, *"abcd")
    talk.nack(talk.said())
    half = talk.said()
    talk.ack(half)
    assert len(half.names) < 4
    again = SotwTalk(cache).ask(ENDPOINT, *"abcd", version=half.version)
    assert again.said().names == ["a", "b", "c", "d"]


def test_nonces_and_versions_of_equal_streams_are_equal_bytes() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    one, two = SotwTalk(cache).ask(CLUSTER), SotwTalk(cache).ask(CLUSTER)
    assert one.session.poll(0.0) == two.session.poll(0.0)


def test_a_separate_service_knows_its_type() -> None:
    talk = SotwTalk(a_cache(*several(ROUTE, "r")), only_type=ROUTE)
    talk.session.receive(DiscoveryRequest(resource_names=["r"]), 0.0)
    assert talk.said().names == ["r"]
    with pytest.raises(ProtocolViolation, match="use ADS"):
        talk.ask(CLUSTER)


def test_names_that_are_repeated_are_not_read_again() -> None:
    cache = a_cache(*several(ENDPOINT, "a b c"))
    talk = SotwTalk(cache).ask(ENDPOINT, "a", "b")
    talk.ack(talk.said())
    repeated = DiscoveryRequest(type_url=ENDPOINT, resource_names=["a", "b"], response_nonce="1")
    longer = DiscoveryRequest(type_url=ENDPOINT, resource_names=["a", "b", "c"], response_nonce="1")
    assert not talk.session.parse(repeated.SerializeToString()).resource_names
    assert list(talk.session.parse(longer.SerializeToString()).resource_names) == ["a", "b", "c"]
    talk.session.receive(talk.session.parse(repeated.SerializeToString()), 0.0)
    assert talk.session.states[ENDPOINT].subscription.names == {"a", "b"}
    publish(cache, *several(ENDPOINT, "b", "new"))
    assert talk.said().names == ["b"]
