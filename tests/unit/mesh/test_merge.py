from __future__ import annotations

import datetime as dt
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidAttachment
from mesh.merge import Attachment, Merged, freeze, merge
from mesh.names import Key
from mesh.targeting import Caller, CallerRef, Level, RouteName, Subject, TargetRef

API, API_1 = Key("default", "api"), Key("default", "api-1")
ROUTE = RouteName("HTTPRoute", API)
WEB = Caller(Key("default", "web-1"), "web", (Key("default", "web"),))
SUBJECT = Subject("default", API, API_1, ROUTE, WEB)
TARGETS = {
    Level.MESH: TargetRef.mesh(),
    Level.NAMESPACE: TargetRef.of_namespace("default"),
    Level.SERVICE: TargetRef.service(API),
    Level.WORKLOAD: TargetRef.workload(API_1),
    Level.ROUTE: TargetRef.route(ROUTE),
    Level.INLINE: TargetRef.inline(ROUTE),
}


def at(
    level: Level,
    name: str = "p",
    *,
    enforced: bool = False,
    created: dt.datetime | None = None,
    callers: tuple[CallerRef, ...] = (),
    **fields: object,
) -> Attachment:
    return Attachment(Key("default", name), TARGETS[level], freeze(fields), callers, enforced, created)


def day(number: int) -> dt.datetime:
    return dt.datetime(2026, 1, number, tzinfo=dt.UTC)


def fields(*attachments: Attachment) -> dict[str, object]:
    return dict(merge(attachments, SUBJECT).fields)


@pytest.mark.parametrize("level", list(Level)[1:])
def test_the_nearer_wins(level: Level) -> None:
    farther = [at(each, f"p{each}", attempts=int(each)) for each in Level if each < level]
    assert fields(*farther, at(level, "near", attempts=99)) == {"attempts": 99}


def test_each_field_by_itself_nested_ones_too_and_lists_as_a_whole() -> None:
    merged = merge(
        [
            at(Level.MESH, "far", attempts=1, budget={"percent": 20, "min": 3}, on=["5xx", "reset"]),
            at(Level.SERVICE, "near", budget={"percent": 50}, on=["reset"]),
        ],
        SUBJECT,
    )
    assert merged.fields == freeze({"attempts": 1, "budget": {"percent": 50, "min": 3}, "on": ["reset"]})
    far, near = Key("default", "far"), Key("default", "near")
    assert dict(merged.origins) == {
        ("attempts",): far,
        ("budget", "percent"): near,
        ("budget", "min"): far,
        ("on",): near,
    }


def test_a_nearer_value_replaces_a_mapping_and_the_reverse() -> None:
    assert fields(at(Level.MESH, budget={"percent": 1}), at(Level.ROUTE, "q", budget=None)) == {
        "budget": None
    }
    assert fields(at(Level.MESH, budget=7), at(Level.ROUTE, "q", budget={})) == {"budget": freeze({})}


def test_ties_go_to_the_older_then_to_the_one_with_a_time_then_by_name() -> None:
    young, old = at(Level.SERVICE, "a", created=day(2), x=1), at(Level.SERVICE, "b", created=day(1), x=2)
    untimed, later = at(Level.SERVICE, "c", x=3), at(Level.SERVICE, "d", x=4)
    assert fields(young, old, untimed, later) == {"x": 2}
    assert fields(young, untimed, later) == {"x": 1}
    assert fields(later, untimed) == {"x": 3}


def test_what_is_enforced_cannot_be_overridden_from_below() -> None:
    mesh = at(Level.MESH, "m", enforced=True, x=1)
    namespace = at(Level.NAMESPACE, "n", enforced=True, x=2, y=2)
    route = at(Level.INLINE, "r", x=3, y=3, z=3)
    assert fields(mesh, namespace, route) == {"x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize("level", [level for level in Level if level > Level.NAMESPACE])
def test_only_mesh_and_namespace_enforce(level: Level) -> None:
    with pytest.raises(InvalidAttachment, match="only the mesh or a namespace can enforce"):
        at(level, enforced=True)


def test_what_does_not_apply_is_left_out() -> None:
    other = CallerRef("default", service="other")
    assert merge([at(Level.MESH, callers=(other,), x=1)], SUBJECT) == Merged()
    assert fields(at(Level.MESH, callers=(other, CallerRef("default", service="web")), x=1)) == {"x": 1}


def test_fields_are_plain_values() -> None:
    with pytest.raises(TypeError, match="set cannot be a field of a policy"):
        freeze({"a": {1}})


values = st.recursive(
    st.integers(0, 3) | st.none() | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)
attachments = st.lists(
    st.builds(
        lambda level, enforced, created, names: (
            level,
            enforced and level <= Level.NAMESPACE,
            created,
            names,
        ),
        st.sampled_from(Level),
        st.booleans(),
        st.none() | st.integers(1, 3).map(day),
        st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    ),
    max_size=6,
).map(
    lambda made: [
        Attachment(Key("default", f"p{n}"), TARGETS[level], freeze(names), (), enforced, created)
        for n, (level, enforced, created, names) in enumerate(made)
    ]
)


@given(attachments, st.randoms(use_true_random=False))
def test_the_order_of_input_never_matters(made: list[Attachment], chance: random.Random) -> None:
    shuffled = list(made)
    chance.shuffle(shuffled)
    assert merge(shuffled, SUBJECT) == merge(made, SUBJECT)


@given(attachments)
def test_every_value_comes_from_the_policy_that_is_named(made: list[Attachment]) -> None:
    merged = merge(made, SUBJECT)
    by_key = {each.key: each for each in made}
    for path, key in merged.origins.items():
        of_policy: object = by_key[key].fields
        of_result: object = merged.fields
        for step in path:
            of_policy, of_result = of_policy[step], of_result[step]  # type: ignore[index]
        assert of_policy == of_result
