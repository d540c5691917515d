"""Make before break (invariant 6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from tests.support.xds_talk import DeltaTalk, Said, SotwTalk, a_cache, a_resource, publish, several
from xds.resource import Resource, encode
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE, SECRET, short_name

Talk = DeltaTalk | SotwTalk
BOTH = pytest.mark.parametrize("kind_of_talk", [DeltaTalk, SotwTalk])
ALL = (CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE)


def everything(names: str, content: str = "1") -> list[Resource]:
    return [each for kind in ALL for each in several(kind, names, content)]


def subscribed(talk: Talk) -> Talk:
    """To all types, asked for in the wrong order, and settled."""
    talk.ask(ROUTE, "a", "b", "c").ask(SCOPED_ROUTE).ask(LISTENER).ask(ENDPOINT, "a", "b", "c").ask(CLUSTER)
    talk.drain()
    return talk


def types(responses: list[Said]) -> list[str]:
    return [short_name(each.type_url) for each in responses]


def waiting(talk: Talk) -> list[Said]:
    """All that is sent without any answer."""
    responses = []
    while (said := talk.poll()) is not None:
        responses.append(said)
    return responses


@BOTH
def test_each_step_waits_for_the_acknowledgement_of_the_one_before(kind_of_talk: type[Talk]) -> None:
    cache = a_cache()
    talk = subscribed(kind_of_talk(cache))
    publish(cache, *everything("a"))
    steps = []
    responses = waiting(talk)
    while responses:
        steps.append(sorted(types(responses)))
        for each in responses:
            talk.ack(each)
        responses = waiting(talk)
    assert steps == [
        ["Cluster", "ClusterLoadAssignment"],
        ["Listener"],
        ["ScopedRouteConfiguration"],
        ["RouteConfiguration"],
    ]


@BOTH
def test_a_first_configuration_comes_as_it_is_asked_for(kind_of_talk: type[Talk]) -> None:
    talk = kind_of_talk(a_cache(*everything("a")))
    asked = [(CLUSTER, []), (ENDPOINT, ["a"]), (LISTENER, []), (SCOPED_ROUTE, []), (ROUTE, ["a"])]
    for kind, names in asked:
        talk.ask(kind, *names)
        assert types(talk.drain()) == [short_name(kind)]


@BOTH
def test_a_client_that_begins_with_listeners_does_not_wait_for_clusters(kind_of_talk: type[Talk]) -> None:
    """As gRPC does: listener, route, cluster, endpoints."""
    talk = kind_of_talk(a_cache(*everything("a")))
    for kind in (LISTENER, ROUTE, CLUSTER, ENDPOINT):
        talk.ask(kind, "a")
        assert types(talk.drain()) == [short_name(kind)]


@BOTH
def test_the_endpoints_of_a_changed_cluster_are_sent_again_though_they_are_equal(
    kind_of_talk: type[Talk],
) -> None:
    cache = a_cache(*everything("a b"))
    talk = subscribed(kind_of_talk(cache))
    publish(cache, *several(CLUSTER, "a", "2"))
    # Before the cluster is acknowledged: Envoy waits for them to do so.
    assert [(short_name(each.type_url), "a" in each.names) for each in waiting(talk)] == [
        ("Cluster", True),
        ("ClusterLoadAssignment", True),
    ]


def test_the_endpoints_of_a_cluster_may_have_another_name() -> None:
    def cluster(text: str) -> Resource:
        message = Cluster(name="a", alt_stat_name=text)
        message.eds_cluster_config.service_name = "a-endpoints"
        return encode(CLUSTER, "a", message.SerializeToString())

    cache = a_cache(cluster("1"), *several(ENDPOINT, "a-endpoints"))
    talk = DeltaTalk(cache).ask(CLUSTER).ask(ENDPOINT, "a-endpoints")
    while (answer := talk.session.poll(0.0)) is not None:
        talk.session._answered(talk.session.states[answer[0]], "1", None, 0.0)
    publish(cache, cluster("2"))
    sent = []
    while (answer := talk.session.poll(0.0)) is not None:
        sent.append(answer[0])
    assert sent == [CLUSTER, ENDPOINT]


@BOTH
def test_endpoints_on_their_way_while_a_cluster_changes_are_sent_again_after_it(
    kind_of_talk: type[Talk],
) -> None:
    cache = a_cache(*everything("a"))
    talk = subscribed(kind_of_talk(cache))
    publish(cache, *several(ENDPOINT, "a", "2"))
    endpoints = talk.said()
    publish(cache, *several(CLUSTER, "a", "2"))
    (cluster,) = waiting(talk)
    assert cluster.type_url == CLUSTER
    talk.ack(endpoints)
    assert [each.bodies for each in waiting(talk)] == [{"a": "a=2"}]


@pytest.mark.parametrize("endpoints_first", [True, False])
def test_a_reconnect_after_a_cluster_changed_gets_its_endpoints(*, endpoints_first: bool) -> None:
    (a,), (endpoints,) = several(CLUSTER, "a"), several(ENDPOINT, "a")
    talk = DeltaTalk(a_cache(*several(CLUSTER, "a", "2"), endpoints))
    sent: list[Said] = []
    asks: list[Callable[[], object]] = [
        lambda: talk.ask(CLUSTER, holds={"a": a.version}),
        lambda: talk.ask(ENDPOINT, "a", holds={"a": endpoints.version}),
    ]
    for ask in reversed(asks) if endpoints_first else asks:
        ask()
        sent += waiting(talk)
    assert types(sent) == ["Cluster", "ClusterLoadAssignment"]


@pytest.mark.parametrize("endpoints_first", [True, False])
def test_and_so_it_is_in_the_state_of_the_world(*, endpoints_first: bool) -> None:
    before = (
        SotwTalk(a_cache(*several(CLUSTER, "a"), *several(ENDPOINT, "a"))).ask(CLUSTER).ask(ENDPOINT, "a")
    )
    versions = {each.type_url: each.version for each in before.drain()}
    talk = SotwTalk(a_cache(*several(CLUSTER, "a", "2"), *several(ENDPOINT, "a")))
    sent: list[Said] = []
    asks: list[Callable[[], object]] = [
        lambda: talk.ask(CLUSTER, version=versions[CLUSTER]),
        lambda: talk.ask(ENDPOINT, "a", version=versions[ENDPOINT]),
    ]
    for ask in reversed(asks) if endpoints_first else asks:
        ask()
        sent += waiting(talk)
    assert types(sent) == ["Cluster", "ClusterLoadAssignment"]


@BOTH
def test_endpoints_and_secrets_never_wait(kind_of_talk: type[Talk]) -> None:
    cache = a_cache(*everything("a"), *several(SECRET, "identity"))
    talk = subscribed(kind_of_talk(cache)).ask(SECRET, "identity")
    talk.drain()
    publish(cache, *several(CLUSTER, "b"))
    assert types(waiting(talk)) == ["Cluster"]  # and it is never acknowledged
    publish(cache, *several(ENDPOINT, "a", "2"), *several(SECRET, "identity", "2"), *several(ROUTE, "a", "2"))
    assert types(waiting(talk)) == ["ClusterLoadAssignment", "Secret"]


def test_removals_come_last_and_one_step_after_the_other() -> None:
    cache = a_cache(*everything("a b"))
    talk = subscribed(DeltaTalk(cache))
    publish(cache, *everything("c"), removed=[(kind, "a") for kind in ALL])
    responses = talk.drain()
    assert [(short_name(each.type_url), each.names, each.removed) for each in responses] == [
        ("Cluster", ["c"], []),
        ("ClusterLoadAssignment", ["c"], []),
        ("Listener", ["c"], []),
        ("ScopedRouteConfiguration", ["c"], []),
        ("RouteConfiguration", ["c"], []),
        ("ScopedRouteConfiguration", [], ["a"]),
        ("RouteConfiguration", [], ["a"]),
        ("Listener", [], ["a"]),
        ("Cluster", [], ["a"]),
        ("ClusterLoadAssignment", [], ["a"]),
    ]


def test_a_removal_waits_for_the_acknowledgement_of_the_one_before() -> None:
    cache = a_cache(*everything("a"))
    talk = subscribed(DeltaTalk(cache))
    publish(cache, removed=[(LISTENER, "a"), (CLUSTER, "a")])
    (listener,) = waiting(talk)
    assert listener.removed == ["a"]
    talk.ack(listener)
    assert types(waiting(talk)) == ["Cluster"]


def test_in_the_state_of_the_world_what_goes_stays_until_all_that_is_new_was_acknowledged() -> None:
    cache = a_cache(*everything("a b"))
    talk = subscribed(SotwTalk(cache))
    publish(cache, *everything("c"), removed=[(kind, "a") for kind in ALL])
    responses = [each for each in talk.drain() if each.type_url not in {ENDPOINT, ROUTE}]
    assert [(short_name(each.type_url), each.names) for each in responses] == [
        ("Cluster", ["a", "b", "c"]),
        ("Listener", ["a", "b", "c"]),
        ("ScopedRouteConfiguration", ["a", "b", "c"]),
        ("ScopedRouteConfiguration", ["b", "c"]),
        ("Listener", ["b", "c"]),
        ("Cluster", ["b", "c"]),
    ]


def test_in_the_state_of_the_world_routes_that_go_do_not_keep_a_cluster() -> None:
    cache = a_cache(*everything("a b"))
    talk = subscribed(SotwTalk(cache))
    publish(cache, removed=[(ROUTE, "a"), (CLUSTER, "a")])
    assert [each.names for each in talk.drain()] == [["b"]]


def test_a_removal_during_the_first_answer_waits_as_well() -> None:
    cache = a_cache(*everything("a b"))
    talk = SotwTalk(cache).ask(CLUSTER)
    first = talk.said()
    talk.ask(LISTENER)
    publish(cache, *several(CLUSTER, "c"), *several(LISTENER, "a", "2"), removed=[(CLUSTER, "b")])
    talk.ack(first)
    assert talk.said().names == ["a", "b", "c"]


def test_an_individual_removal_of_a_secret_does_not_wait() -> None:
    cache = a_cache(*everything("a"), *several(SECRET, "old"))
    talk = DeltaTalk(cache).ask(CLUSTER).ask(SECRET, "*")
    talk.drain()
    publish(cache, *several(CLUSTER, "b"), removed=[(SECRET, "old")])
    assert types(waiting(talk)) == ["Cluster", "Secret"]


def test_a_route_waits_for_the_endpoints_that_it_needs() -> None:
    cache = a_cache(*everything("a"))
    talk = subscribed(DeltaTalk(cache))
    needs = ((CLUSTER, "b"), (ENDPOINT, "b"))
    publish(
        cache,
        *several(CLUSTER, "b"),
        *several(ENDPOINT, "b"),
        a_resource(ROUTE, "a", "2", needs=needs),
        a_resource(ROUTE, "b", "2"),
    )
    cluster, endpoints = waiting(talk)
    talk.ack(cluster)
    (other,) = waiting(talk)
    assert other.names == ["b"]
    talk.ack(other)
    assert waiting(talk) == []
    talk.ack(endpoints)
    assert [each.names for each in waiting(talk)] == [["a"]]


def test_what_refers_to_itself_or_to_what_comes_later_does_not_wait_for_ever() -> None:
    cache = a_cache()
    talk = subscribed(DeltaTalk(cache))
    publish(
        cache,
        a_resource(LISTENER, "a", needs=[(ROUTE, "a"), (LISTENER, "a"), (CLUSTER, "nowhere")]),
        a_resource(ROUTE, "a", needs=[(LISTENER, "a")]),
    )
    assert types(talk.drain()) == ["Listener", "RouteConfiguration"]


def test_what_refers_to_something_that_goes_does_not_wait_for_that() -> None:
    cache = a_cache(*everything("a"))
    talk = subscribed(DeltaTalk(cache))
    publish(
        cache,
        a_resource(ROUTE, "a", "2", needs=[(CLUSTER, "a"), (ENDPOINT, "a")]),
        removed=[(CLUSTER, "a"), (ENDPOINT, "a")],
    )
    route, *_ = waiting(talk)
    assert route.names == ["a"]
    talk.ack(route)
    assert "Cluster" in types(talk.drain())


@BOTH
def test_the_endpoints_of_a_cluster_that_changed_and_then_goes_are_sent_all_the_same(
    kind_of_talk: type[Talk],
) -> None:
    """Envoy warms the cluster and waits for them before it acknowledges it: for 15 s, if they did not come."""
    cache = a_cache(*everything("a b"))
    talk = subscribed(kind_of_talk(cache))
    publish(cache, *several(CLUSTER, "a", "2"))
    cluster = talk.said()
    assert cluster.type_url == CLUSTER
    publish(cache, removed=[(CLUSTER, "a"), (ENDPOINT, "a")])
    (endpoints,) = waiting(talk)
    assert endpoints.bodies == {"a": "a=1"}
    talk.ack(endpoints)
    talk.ack(cluster)
    after = talk.drain()
    assert "Cluster" in types(after)
    assert all("a" not in each.bodies for each in after)
    assert talk.session.settled


# What is never acknowledged


def test_a_late_answer_holds_up_only_what_refers_to_it() -> None:
    cache = a_cache(*everything("a b"))
    talk = subscribed(DeltaTalk(cache, ack_timeout=20.0))
    publish(
        cache,
        *several(CLUSTER, "a", "slow"),
        a_resource(ROUTE, "a", "2", needs=[(CLUSTER, "a")]),
        a_resource(ROUTE, "b", "2", needs=[(CLUSTER, "b")]),
    )
    assert types(waiting(talk)) == ["Cluster", "ClusterLoadAssignment"]
    talk.now = 19.9
    assert waiting(talk) == []
    assert talk.session.poll_at() == pytest.approx(20.0)
    talk.now = 20.0
    assert [each.names for each in waiting(talk)] == [["b"]]
    assert not talk.session.settled


def test_newer_content_goes_after_a_late_answer_and_each_is_credited_with_its_own() -> None:
    cache = a_cache(*everything("a"))
    talk = DeltaTalk(cache, ack_timeout=20.0).ask(CLUSTER)
    talk.drain()
    publish(cache, *several(CLUSTER, "a", "bad"))
    bad = talk.said()
    publish(cache, *several(CLUSTER, "a", "mended"))
    assert talk.poll() is None
    talk.now = 20.0
    mended = talk.said()
    talk.nack(bad, "cluster a: no")
    assert talk.session.states[CLUSTER].quarantine == {}  # what it refused is not in force any more
    assert [refusal.nonce for _, refusal in talk.refusals] == [bad.nonce]
    talk.ack(mended)
    assert talk.poll() is None
    assert talk.session.settled


def test_a_silent_client_is_not_sent_more_and_more() -> None:
    cache = a_cache(*everything("a"))
    talk = DeltaTalk(cache, ack_timeout=20.0).ask(CLUSTER)
    sent = 0
    for content in range(50):
        publish(cache, *several(CLUSTER, "a", str(content)))
        sent += len(waiting(talk))
        talk.now += 100.0
    assert sent < 10


def test_nothing_is_removed_while_an_answer_is_late() -> None:
    cache = a_cache(*everything("a b"))
    talk = subscribed(DeltaTalk(cache, ack_timeout=20.0))
    publish(cache, *several(ROUTE, "a", "2"), removed=[(CLUSTER, "b")])
    (route,) = waiting(talk)
    talk.now = 1000.0
    assert waiting(talk) == []
    talk.ack(route)
    assert [each.removed for each in waiting(talk)] == [["b"]]
