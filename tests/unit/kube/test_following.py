"""What a reflector asks next, and what answers change: without a server."""

from __future__ import annotations

from typing import Any

import pytest

from kube.answers import Asked
from kube.errors import ApiError, Busy, Expired, Forbidden, Invalid, NotFound, Unreachable
from kube.following import (
    PAGE_TRIES,
    Cause,
    Changed,
    Failed,
    Following,
    Gone,
    ListPage,
    Pause,
    Recovered,
    Replaced,
    WatchFrom,
    keep_all,
)
from kube.resource import SERVICES, Object, ObjectName

ASKED = Asked("test", "watch", SERVICES)


def keep(value: Object) -> str | None:
    spec: str | None = value.get("spec")
    return spec


def following() -> Following[str]:
    return Following(ASKED, keep, lambda: 0.0)


def an_object(name: str, spec: str | None = "a", version: str = "1") -> Object:
    return {"metadata": {"namespace": "x", "name": name, "resourceVersion": version}, "spec": spec}


def an_event(kind: str, name: str, spec: str | None = "a", version: str = "11") -> Object:
    return {"type": kind, "object": an_object(name, spec, version)}


def bookmark(version: str) -> Object:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}


def gone_410() -> Object:
    return {
        "type": "ERROR",
        "object": {"code": 410, "reason": "Expired", "message": "too old resource version"},
    }


def page(following: Following[str], *objects: Object, version: str = "10", more: str = "") -> list[Any]:
    return list(following.page(keep_all(keep, objects, following.values), version, more))


def watching(*objects: Object) -> Following[str]:
    made = following()
    assert isinstance(made.next(), ListPage)
    page(made, *objects)
    assert isinstance(made.next(), WatchFrom)
    made.opened()
    return made


def name(text: str) -> ObjectName:
    return ObjectName("x", text)


def test_pages_are_one_answer() -> None:
    made = following()
    assert made.next() == ListPage("", 500)
    assert page(made, an_object("one"), more="next") == []
    assert made.next() == ListPage("next", 500)
    (told,) = page(made, an_object("two"), version="12")
    assert told == Replaced({name("one"): "a", name("two"): "a"}, (name("one"), name("two")), {})
    assert made.synced
    step = made.next()
    assert isinstance(step, WatchFrom)
    assert step.version == "12"


def test_only_what_is_kept_and_differs_is_told() -> None:
    made = watching(an_object("one"))
    assert made.batch([an_event("MODIFIED", "one", "a", "11")]) == []
    assert made.batch([an_event("MODIFIED", "one", "b", "12"), an_event("ADDED", "two", None, "13")]) == [
        Changed(name("one"), "b", "a")
    ]
    assert made.batch([an_event("MODIFIED", "one", None, "14")]) == [Gone(name("one"), "b")]
    assert made.batch([an_event("DELETED", "one", "b", "15"), an_event("ADDED", "two", "c", "16")]) == [
        Changed(name("two"), "c", None)
    ]
    made.ended(300)
    step = made.next()
    assert isinstance(step, WatchFrom)
    assert step.version == "16"


def test_a_bookmark_moves_the_version_and_tells_nothing() -> None:
    made = watching()
    assert made.batch([bookmark("99")]) == []
    made.ended(300)
    step = made.next()
    assert isinstance(step, WatchFrom)
    assert step.version == "99"


def test_compacted_history_is_a_list_whose_difference_is_told() -> None:
    made = watching(an_object("one"), an_object("two"))
    assert made.batch([gone_410()]) == []
    assert not made.watching
    assert made.values == {name("one"): "a", name("two"): "a"}
    assert made.next() == ListPage("", 500)
    (told,) = page(made, an_object("two"), an_object("three"), version="50")
    assert told == Replaced({name("two"): "a", name("three"): "a"}, (name("three"),), {name("one"): "a"})


def test_history_that_is_compacted_again_and_again_is_told_and_waited_for() -> None:
    made = watching()
    assert made.batch([gone_410()]) == []
    made.next()
    page(made)
    made.next()
    (told,) = made.batch([gone_410()])
    assert isinstance(told, Failed)
    assert isinstance(made.next(), Pause)
    assert made.next() == ListPage("", 500)
    assert page(made)[0] == Recovered()


def test_a_list_that_outlasts_history_is_asked_for_in_one() -> None:
    made = following()
    made.next()
    page(made, an_object("one"), more="next")
    made.next()
    assert made.failed(Expired("410")) == []
    assert made.next() == ListPage("", 0)
    (told,) = page(made, an_object("two"))
    assert told.values == {name("two"): "a"}


def test_a_failure_is_told_once_and_the_watch_goes_on_where_it_was() -> None:
    made = watching(an_object("one"))
    assert made.failed(Forbidden("no rule")) == [Failed("no rule", Cause.FORBIDDEN)]
    assert made.next() == Pause(0.1)
    assert isinstance(made.next(), WatchFrom)
    assert made.failed(Forbidden("no rule")) == []
    assert made.next() == Pause(0.2)
    made.next()
    assert made.opened() == [Recovered()]
    assert made.values == {name("one"): "a"}
    assert made.batch([an_event("MODIFIED", "one", "b")]) == [Changed(name("one"), "b", "a")]


def test_pauses_grow_to_a_limit_and_no_shorter_than_asked() -> None:
    made = following()
    pauses = []
    for _ in range(12):
        made.next()
        made.failed(Unreachable("refused"))
        pause = made.next()
        assert isinstance(pause, Pause)
        pauses.append(pause.seconds)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 7.5
    made.failed(Busy("429", retry_after=60))
    assert made.next() == Pause(60)


def test_a_page_that_fails_is_asked_for_again_with_what_was_read() -> None:
    made = following()
    made.next()
    page(made, an_object("one"), more="next")
    made.next()
    made.failed(Busy("503"))
    assert isinstance(made.next(), Pause)
    assert made.next() == ListPage("next", 500)
    assert page(made, an_object("two"))[-1].values == {name("one"): "a", name("two"): "a"}


@pytest.mark.parametrize(
    "error", [Busy("500: required revision is a future revision"), Unreachable("refused")]
)
def test_a_page_that_fails_again_and_again_is_a_list_that_begins_anew(error: ApiError) -> None:
    made = following()
    made.next()
    page(made, an_object("one"), more="next")
    for _ in range(PAGE_TRIES):
        assert made.next() == ListPage("next", 500)
        made.failed(error)
        assert isinstance(made.next(), Pause)
    assert made.next() == ListPage("", 500)
    assert page(made, an_object("two"))[-1].values == {name("two"): "a"}, "of the first try nothing is left"


def test_a_page_whose_token_is_refused_is_a_list_that_begins_anew() -> None:
    made = following()
    made.next()
    page(made, an_object("one"), more="next")
    made.next()
    made.failed(Invalid("400: continue key is not valid"))
    assert isinstance(made.next(), Pause)
    assert made.next() == ListPage("", 500)


@pytest.mark.parametrize(
    ("error", "cause", "lasting"),
    [
        (Forbidden("403"), Cause.FORBIDDEN, True),
        (NotFound("404"), Cause.NOT_SERVED, True),
        (Busy("429"), Cause.PASSING, False),
        (Unreachable("refused"), Cause.PASSING, False),
    ],
)
def test_a_failure_says_whether_it_passes_by_itself(error: ApiError, cause: Cause, lasting: bool) -> None:
    (told,) = following().failed(error)
    assert isinstance(told, Failed)
    assert (told.cause, told.lasting) == (cause, lasting)


def test_what_a_list_finds_as_it_was_is_kept_as_it_was() -> None:
    """So that who compares it later, values or the list with the one before, need not look into it."""
    made = watching(an_object("one", "a long text"), an_object("two", "another"))
    before = made.values[name("one")]
    same = an_object("one", "a long " + "text"[:])
    made.batch([gone_410()])
    (told,) = page(made, same, an_object("two", "changed"))
    assert told.values[name("one")] is before
    assert told.changed == (name("two"),)


def test_watches_that_end_at_once_are_not_asked_for_in_a_loop() -> None:
    made = watching()
    made.ended(0.01)
    assert isinstance(made.next(), Pause)
    assert isinstance(made.next(), WatchFrom)
    made.opened()
    made.batch([an_event("ADDED", "one")])
    made.ended(0.01)
    assert isinstance(made.next(), WatchFrom)


def test_a_bookmark_of_an_older_version_means_another_history() -> None:
    made = watching(an_object("one"))
    made.batch([an_event("ADDED", "two", "a", "500")])
    assert made.batch([bookmark("40")]) == []
    assert made.next() == ListPage("", 500)
    assert page(made, an_object("one"), version="41")[0].gone == {name("two"): "a"}


def test_an_error_event_other_than_410_is_a_failure() -> None:
    made = watching(an_object("one"))
    status = {"type": "ERROR", "object": {"code": 500, "message": "etcd is away"}}
    (told,) = made.batch([status, an_event("ADDED", "two")])
    assert isinstance(told, Failed)
    assert "etcd is away" in told.reason
    assert not made.watching
    assert made.values == {name("one"): "a"}
