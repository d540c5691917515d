"""Clusters that a client is given when it names them, beside those that it is given at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.support.xds_talk import DeltaTalk, Said, SotwTalk, a_cache, a_resource, publish, several
from tests.unit.xds.test_cache import Marked
from xds.cache import ResourceCache
from xds.on_request import OnRequest
from xds.resource import Resource
from xds.types import CLUSTER, ENDPOINT, ROUTE

SCOPE = "everyone"
ASKING = OnRequest(SCOPE)


def on_request(names: str, content: str = "1") -> tuple[Resource, ...]:
    return tuple(replace(each, on_request=True) for each in several(CLUSTER, names, content))


def a_mesh() -> ResourceCache:
    """Two clusters that are given at once, three on request, and endpoints of all."""
    return a_cache(*several(CLUSTER, "tcp mirror"), *on_request("a b c"), *several(ENDPOINT, "a b c tcp"))


def marked(cache: ResourceCache, scope: object, names: Iterable[str] = ()) -> Marked:
    made = Marked()
    to = cache.subscription(wildcard=True, names=names)
    cache.subscribe(made, (scope,), CLUSTER, to)
    return made


def taken(talk: DeltaTalk | SotwTalk) -> Said:
    """The next response, acknowledged."""
    said = talk.said()
    talk.ack(said)
    return said


def test_everything_is_what_is_given_at_once() -> None:
    talk = DeltaTalk(a_mesh(), ASKING).ask(CLUSTER)
    assert taken(talk).names == ["mirror", "tcp"]
    assert talk.poll() is None


def test_what_is_named_is_given_beside_it() -> None:
    talk = DeltaTalk(a_mesh(), ASKING).ask(CLUSTER)
    talk.drain()
    talk.ask(CLUSTER, "a")
    assert taken(talk).names == ["a"]
    talk.ask(CLUSTER, "b")
    assert taken(talk).names == ["b"]
    assert talk.poll() is None


def test_an_unknown_name_is_answered_at_once() -> None:
    talk = DeltaTalk(a_mesh(), ASKING).ask(CLUSTER)
    talk.drain()
    talk.ask(CLUSTER, "nobody")
    said = taken(talk)
    assert (said.names, said.removed) == ([], ["nobody"])


def test_what_is_named_again_is_answered_again() -> None:
    talk = DeltaTalk(a_mesh(), ASKING).ask(CLUSTER)
    talk.drain()
    for _ in range(2):
        talk.ask(CLUSTER, "a")
        assert taken(talk).names == ["a"]


def test_changes_come_to_who_named_it_and_to_nobody_else() -> None:
    cache = a_mesh()
    whole, none, some = marked(cache, SCOPE), marked(cache, ASKING), marked(cache, ASKING, ["a"])
    publish(cache, *on_request("a b", "2"))
    assert whole.names == [(CLUSTER, ["a", "b"])]
    assert none.names == []
    assert some.names == [(CLUSTER, ["a"])]
    publish(cache, *several(CLUSTER, "tcp", "2"))
    assert none.names == [(CLUSTER, ["tcp"])]


def test_what_is_named_changes_goes_and_comes_back() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, ASKING).ask(CLUSTER)
    talk.drain()
    talk.ask(CLUSTER, "a").drain()
    publish(cache, *on_request("a b", "2"))
    assert taken(talk).bodies == {"a": "a=2"}
    publish(cache, removed=[(CLUSTER, "a"), (CLUSTER, "b")])
    assert taken(talk).removed == ["a"]
    publish(cache, *on_request("a b", "3"))
    assert taken(talk).bodies == {"a": "a=3"}


def test_who_has_the_scope_whole_is_given_all() -> None:
    cache = a_mesh()
    assert taken(DeltaTalk(cache, SCOPE).ask(CLUSTER)).names == ["a", "b", "c", "mirror", "tcp"]


def test_the_state_of_the_world_cannot_ask_by_name_and_is_given_all() -> None:
    cache = a_mesh()
    talk = SotwTalk(cache, ASKING).ask(CLUSTER)
    assert taken(talk).names == ["a", "b", "c", "mirror", "tcp"]
    publish(cache, *on_request("b", "2"))
    assert "b" in taken(talk).names


def test_names_that_a_scope_gives_at_once_need_no_asking() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, OnRequest(SCOPE, frozenset({"b", "later"}))).ask(CLUSTER)
    assert taken(talk).names == ["b", "mirror", "tcp"]
    publish(cache, *on_request("later a"))
    assert taken(talk).names == ["later"]


def test_another_look_at_the_same_scope_sends_the_difference() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, OnRequest(SCOPE, frozenset({"a"}))).ask(CLUSTER)
    talk.drain()
    talk.session.rescope((OnRequest(SCOPE, frozenset({"b"})),))
    assert taken(talk).names == ["b"]
    assert taken(talk).removed == ["a"]
    talk.session.rescope((SCOPE,))
    assert taken(talk).names == ["a", "c"]


def test_what_becomes_on_request_or_ceases_to_be_moves() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, ASKING).ask(CLUSTER)
    talk.drain()
    publish(cache, a_resource(CLUSTER, "a"))
    assert taken(talk).names == ["a"]
    publish(cache, *on_request("a"))
    assert taken(talk).removed == ["a"]


def test_a_client_that_comes_back_with_its_names_is_sent_nothing() -> None:
    cache = a_mesh()
    held = {each.name: each.version for each in cache.contents(SCOPE) if each.type_url == CLUSTER}
    some = {name: held[name] for name in ("a", "tcp", "mirror")}
    assert DeltaTalk(cache, ASKING).ask(CLUSTER, "*", "a", holds=some).drain() == []
    # What it held as a part of everything, and does not name, goes.
    (said,) = DeltaTalk(cache, ASKING).ask(CLUSTER, "*", "a", holds=held).drain()
    assert (said.names, said.removed) == ([], ["b", "c"])


def test_endpoints_follow_a_cluster_that_was_asked_for() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, ASKING).ask(CLUSTER)
    talk.drain()
    talk.ask(CLUSTER, "a").drain()
    talk.ask(ENDPOINT, "a")
    assert taken(talk).names == ["a"]
    publish(cache, *several(ENDPOINT, "a b", "2"))
    assert taken(talk).bodies == {"a": "a=2"}


def test_a_route_to_what_nobody_asked_for_waits_for_nothing() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, ASKING).ask(CLUSTER)
    talk.drain()
    talk.ask(ROUTE, "r")
    talk.drain()
    publish(cache, a_resource(ROUTE, "r", needs=[(CLUSTER, "a"), (ENDPOINT, "a")]))
    assert taken(talk).names == ["r"]


def test_a_publication_waits_for_no_client_that_it_does_not_concern() -> None:
    cache = a_mesh()
    talk = DeltaTalk(cache, ASKING).ask(CLUSTER)
    talk.drain()
    assert not publish(cache, *on_request("a", "2"), at=1.0).waiting
    assert publish(cache, *several(CLUSTER, "tcp", "2"), at=2.0).waiting
