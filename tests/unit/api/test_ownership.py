"""Server-side apply, case by case as Kubernetes documents it, and by Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.fields import LISTS, fields_of, read, shown, written
from api.ownership import APPLY, UPDATE, applied, owners_of, shown_as_managed_fields, updated

HEAD: dict[str, Any] = {"apiVersion": "v", "kind": "Service", "metadata": {"name": "a"}}


def a_document(**spec: Any) -> dict[str, Any]:
    return {**HEAD, "spec": spec}


def owned(managed: Any, manager: str, operation: str = APPLY) -> set[str]:
    return {shown(path) for path in owners_of(managed).get((manager, operation), ())}


def test_who_applies_owns_what_they_say() -> None:
    made = applied("Service", None, {}, a_document(a=1, b={"c": [1, 2]}), "ann")
    assert made.body == a_document(a=1, b={"c": [1, 2]})
    assert owned(made.managed, "ann") == {"spec.a", "spec.b.c"}


def test_what_is_said_no_more_goes_unless_somebody_else_owns_it() -> None:
    first = applied("Service", None, {}, a_document(a=1, b=2, c={"d": 3}), "ann")
    shared = applied("Service", first.body, first.managed, a_document(b=2), "bob")
    assert not shared.clashes, "the same value is no conflict"
    less = applied("Service", shared.body, shared.managed, a_document(a=1), "ann")
    assert less.body == a_document(a=1, b=2), "b is bob's too; c is gone, with what held it"
    assert owned(less.managed, "ann") == {"spec.a"}
    assert owned(less.managed, "bob") == {"spec.b"}


def test_another_value_of_what_is_owned_is_a_conflict_and_force_takes_it() -> None:
    first = applied("Service", None, {}, a_document(a=1, b=2), "ann")
    clash = applied("Service", first.body, first.managed, a_document(a=9, x=1), "bob")
    assert [(each.path, each.manager) for each in clash.clashes] == [("spec.a", "ann")]
    assert clash.body == first.body
    assert clash.managed == first.managed
    taken = applied("Service", first.body, first.managed, a_document(a=9, x=1), "bob", force=True)
    assert taken.body == a_document(a=9, b=2, x=1)
    assert owned(taken.managed, "ann") == {"spec.b"}
    assert owned(taken.managed, "bob") == {"spec.a", "spec.x"}
    back = applied("Service", taken.body, taken.managed, a_document(b=2), "ann")
    assert back.body == a_document(a=9, b=2, x=1), "what ann lost is not hers to remove"


def test_who_writes_otherwise_takes_what_they_change() -> None:
    first = applied("Service", None, {}, a_document(a=1, b=2), "ann")
    managed = updated("Service", first.body, first.managed, a_document(a=5, b=2), "bob")
    assert owned(managed, "ann") == {"spec.b"}
    assert owned(managed, "bob", UPDATE) == {"spec.a"}
    clash = applied("Service", a_document(a=5, b=2), managed, a_document(a=1, b=2), "ann")
    assert [(each.path, each.manager) for each in clash.clashes] == [("spec.a", "bob")]
    removed = updated("Service", a_document(a=5, b=2), managed, a_document(b=2), "cat")
    assert owned(removed, "bob", UPDATE) == set()


def test_who_wrote_otherwise_may_apply_over_it() -> None:
    managed = updated("Service", None, {}, a_document(a=1), "ann")
    made = applied("Service", a_document(a=1), managed, a_document(a=2), "ann")
    assert not made.clashes
    assert made.body == a_document(a=2)


def test_elements_of_named_lists_have_owners_of_their_own() -> None:
    one, two = {"name": "one", "port": 1}, {"name": "two", "port": 2}
    first = applied("Service", None, {}, a_document(ports=[one]), "ann")
    both = applied("Service", first.body, first.managed, a_document(ports=[two]), "bob")
    assert not both.clashes
    assert both.body == a_document(ports=[one, two])
    assert owned(both.managed, "bob") == {"spec.ports[name=two].name", "spec.ports[name=two].port"}
    gone = applied("Service", both.body, both.managed, a_document(x=1), "ann")
    assert gone.body == a_document(ports=[two], x=1)
    none = applied("Service", gone.body, gone.managed, a_document(y=1), "bob")
    assert none.body == a_document(x=1, y=1)
    part = applied("Service", both.body, both.managed, a_document(ports=[{**one, "port": 7}]), "bob")
    assert [each.path for each in part.clashes] == ["spec.ports[name=one].port"]


def test_other_lists_are_one_value() -> None:
    first = applied("Service", None, {}, a_document(tags=["a"]), "ann")
    clash = applied("Service", first.body, first.managed, a_document(tags=["b"]), "bob")
    assert [each.path for each in clash.clashes] == ["spec.tags"]


def test_a_mapping_in_place_of_a_value_is_a_conflict() -> None:
    first = applied("Service", None, {}, a_document(a=1), "ann")
    assert applied("Service", first.body, first.managed, a_document(a={"b": 1}), "bob").clashes


def test_names_are_nobodys() -> None:
    made = applied(
        "Service",
        None,
        {},
        {**a_document(a=1), "metadata": {"name": "a", "namespace": "b", "labels": {"c": "d"}}},
        "ann",
    )
    assert owned(made.managed, "ann") == {"metadata.labels.c", "spec.a"}
    (entry,) = shown_as_managed_fields(made.managed, "v1")
    assert isinstance(entry, dict)
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {"f:c": {}}}, "f:spec": {"f:a": {}}}


VALUES = st.recursive(
    st.integers(0, 2) | st.lists(st.integers(0, 1), max_size=2),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=6,
)
PORTS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["one", "two"]), "port": st.integers(0, 2)}),
    max_size=2,
    unique_by=lambda port: str(port["name"]),
)
SPECS = st.builds(
    lambda spec, ports: {**spec, "ports": ports},
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
    PORTS,
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ann", "bob", "cat"]), SPECS, st.booleans(), st.booleans()), max_size=6
    )
)
def test_whatever_they_do(steps: list[tuple[str, dict[str, Any], bool, bool]]) -> None:
    """What is forced is there; nobody owns what is not; what is applied twice changes nothing more."""
    body: dict[str, Any] = dict(HEAD)
    managed: dict[str, Any] = {}
    for manager, spec, force, apply in steps:
        wish = a_document(**spec)
        if not apply:
            managed, body = updated("Service", body, managed, wish, manager), wish
        else:
            made = applied("Service", body, managed, wish, manager, force=force)
            if made.clashes:
                assert not force
                assert made.body == body
                continue
            body, managed = made.body, made.managed
            now, wanted = fields_of("Service", body), fields_of("Service", wish)
            assert {path: now.get(path) for path in wanted} == wanted
            again = applied("Service", body, managed, wish, manager)
            assert (again.body, again.managed, again.clashes) == (body, managed, ())
        present = fields_of("Service", body)
        for fields in owners_of(managed).values():
            for path in fields:
                assert path in present or any(each[: len(path)] == path for each in present), shown(path)


@given(SPECS)
def test_fields_are_read_as_they_are_written(spec: dict[str, Any]) -> None:
    fields = frozenset(fields_of("Service", a_document(**spec)))
    assert read(written(fields)) == fields
    assert ("Service", "spec", "ports") in LISTS
