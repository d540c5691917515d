from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

import pytest

from tests.support.xds_talk import DeltaTalk, a_cache, a_resource, publish, read, several
from xds.cache import Generation, ResourceCache, ScopeChange, lookup, wanted
from xds.types import CLUSTER, ENDPOINT


class Marked:
    """A subscriber that writes down what it is told."""

    def __init__(self) -> None:
        self.names: list[tuple[str, list[str]]] = []
        self.generations: list[Generation | None] = []

    def mark(self, type_url: str, names: Iterable[str], generation: Generation | None) -> None:
        self.names.append((type_url, sorted(names)))
        self.generations.append(generation)


def listen(cache: ResourceCache, *names: str, wildcard: bool = False, scope: str = "everyone") -> Marked:
    marked = Marked()
    cache.subscribe(marked, (scope,), CLUSTER, cache.subscription(wildcard=wildcard, names=names))
    return marked


def names_in(cache: ResourceCache, *scopes: str) -> dict[str, str]:
    maps = cache.maps(scopes, CLUSTER)
    everything = cache.subscription(wildcard=True, names=())
    return {name: read(each.body) for name, each in wanted(maps, everything)}


def test_a_publication_marks_those_who_subscribe_to_what_changed() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    everything, some, none = listen(cache, wildcard=True), listen(cache, "a", "x"), listen(cache, "b")
    publish(cache, *several(CLUSTER, "a c", "2"))
    assert everything.names == [(CLUSTER, ["a", "c"])]
    assert some.names == [(CLUSTER, ["a"])]
    assert none.names == []


def test_an_equal_version_changes_nothing_for_anyone() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    marked = listen(cache, wildcard=True)
    publish(cache, a_resource(CLUSTER, "a", origin=("moved.yaml",)))
    assert marked.names == []
    assert [each.origin for each in cache.contents("everyone")] == [("moved.yaml",)]


def test_other_types_and_other_scopes_are_not_marked() -> None:
    cache = a_cache(*several(CLUSTER, "a"))
    marked = listen(cache, wildcard=True)
    publish(cache, *several(ENDPOINT, "a"))
    publish(cache, *several(CLUSTER, "a", "2"), scope="elsewhere")
    assert marked.names == []


def test_equal_subscriptions_are_one_object_and_one_group() -> None:
    cache = a_cache()
    one = cache.subscription(wildcard=False, names=["a", "b"])
    assert cache.subscription(wildcard=False, names={"b", "a"}) is one
    assert cache.subscription(wildcard=True, names=["a", "b"]) is not one
    first, second = listen(cache, "a", "b"), listen(cache, "b", "a")
    publish(cache, *several(CLUSTER, "a"))
    assert first.names == second.names == [(CLUSTER, ["a"])]


def test_a_subscription_that_nobody_has_is_forgotten() -> None:
    cache = a_cache()
    talk = DeltaTalk(cache).ask(CLUSTER, "a")
    assert len(cache._subscriptions) == 1
    talk.session.close()
    del talk
    gc.collect()
    assert len(cache._subscriptions) == 0


def test_a_name_is_asked_of_a_group_once_however_many_clients_are_in_it() -> None:
    class Counted(frozenset[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            Counted.asked += 1
            return super().__contains__(name)

    cache = a_cache(*several(CLUSTER, "a b"))
    talks = [DeltaTalk(cache).ask(CLUSTER, "a", "b") for _ in range(50)]
    for talk in talks:
        talk.drain()
    shared = talks[0].session.states[CLUSTER].subscription
    object.__setattr__(shared, "names", Counted(shared.names))
    publish(cache, *several(CLUSTER, "a", "2"))
    assert Counted.asked == 1
    assert all(talk.marked == 1 for talk in talks)


def test_replace_and_remove_and_drop() -> None:
    cache = a_cache(*several(CLUSTER, "a b c"))
    marked = listen(cache, wildcard=True)
    publish(cache, removed=[(CLUSTER, "a"), (CLUSTER, "never there")])
    assert marked.names.pop() == (CLUSTER, ["a"])
    cache.publish([ScopeChange("everyone", put=several(CLUSTER, "c d"), replace=True)])
    assert marked.names.pop() == (CLUSTER, ["b", "d"])
    assert sorted(names_in(cache, "everyone")) == ["c", "d"]
    cache.publish([ScopeChange("everyone", drop=True)])
    assert marked.names.pop() == (CLUSTER, ["c", "d"])
    assert not cache.ready(["everyone"])


def test_to_drop_what_was_never_published_is_nothing() -> None:
    cache = a_cache()
    cache.publish([ScopeChange("nobody", drop=True)])
    assert not cache.ready(["nobody"])


def test_a_publication_is_atomic_even_if_its_changes_cannot_be_had() -> None:
    def changes() -> Iterator[ScopeChange]:
        yield ScopeChange("everyone", put=several(CLUSTER, "a"))
        raise RuntimeError("no more")

    cache = a_cache()
    marked = listen(cache, wildcard=True)
    with pytest.raises(RuntimeError):
        cache.publish(changes())
    assert marked.names == []
    assert names_in(cache, "everyone") == {}


def test_marks_come_after_all_scopes_have_changed() -> None:
    cache = a_cache()
    publish(cache, scope="own")
    seen: list[dict[str, str]] = []

    class Looks:
        def mark(self, type_url: str, names: Iterable[str], generation: Generation | None) -> None:
            seen.append(names_in(cache, "own", "everyone"))

    for scope in ("own", "everyone"):
        cache.subscribe(Looks(), (scope,), CLUSTER, cache.subscription(wildcard=True, names=()))
    cache.publish(
        [ScopeChange("own", put=several(CLUSTER, "a")), ScopeChange("everyone", put=several(CLUSTER, "b"))]
    )
    assert [sorted(each) for each in seen] == [["a", "b"], ["a", "b"]]


def test_the_first_scope_that_has_a_name_wins() -> None:
    cache = a_cache(*several(CLUSTER, "a b", "common"))
    publish(cache, *several(CLUSTER, "a", "own"), scope="own")
    assert names_in(cache, "own", "everyone") == {"a": "a=own", "b": "b=common"}
    assert names_in(cache, "everyone", "own") == {"a": "a=common", "b": "b=common"}
    found = lookup(cache.maps(("own", "everyone"), CLUSTER), "a")
    assert found is not None
    assert read(found.body) == "a=own"


def test_scopes_are_ready_when_open_and_published() -> None:
    cache = ResourceCache()
    called: list[int] = []
    cache.when_ready(["one"], lambda: called.append(1))
    publish(cache, scope="one")
    assert not cache.ready(["one"])
    assert called == []
    cache.open()
    assert called == [1]
    assert cache.ready(["one"])
    assert not cache.ready(["one", "two"])


def test_nothing_is_left_of_a_scope_that_was_only_waited_for() -> None:
    cache = ResourceCache()

    def call() -> None:
        raise AssertionError

    cache.when_ready(["one"], call)
    cache.forget(["one"], call)
    talk = DeltaTalk(cache, "two").ask(CLUSTER)
    talk.session.close()
    cache.open()
    publish(cache, scope="three")
    cache.publish([ScopeChange("three", drop=True)])
    assert cache._scopes == {}


def test_a_whole_answer_is_joined_once_for_all_who_want_the_same() -> None:
    cache = a_cache(*several(CLUSTER, "a b"))
    everything = cache.subscription(wildcard=True, names=())
    maps = cache.maps(("everyone",), CLUSTER)
    plan = cache.plan(maps, CLUSTER, everything, delta=True)
    assert cache.plan(cache.maps(("everyone",), CLUSTER), CLUSTER, everything, delta=True) is plan
    publish(cache, *several(CLUSTER, "a", "2"))
    assert cache.plan(cache.maps(("everyone",), CLUSTER), CLUSTER, everything, delta=True) is not plan


def test_the_version_of_a_whole_is_the_same_on_every_replica_and_tells_changes() -> None:
    def version(*resources_of: str) -> str:
        cache = a_cache(*(each for text in resources_of for each in several(CLUSTER, *text.split("/"))))
        everything = cache.subscription(wildcard=True, names=())
        return cache.version(cache.maps(("everyone",), CLUSTER), everything)

    assert version("a b") == version("b", "a")
    assert len({version("a b"), version("a"), version("a b/2"), version("")}) == 4


def test_only_the_last_few_whole_answers_are_kept() -> None:
    cache = ResourceCache(remembered=2)
    everything = cache.subscription(wildcard=True, names=())
    for content in "123456":
        publish(cache, *several(CLUSTER, "a", content))
        cache.plan(cache.maps(("everyone",), CLUSTER), CLUSTER, everything, delta=True)
    assert len(cache._plans._results) == 2
