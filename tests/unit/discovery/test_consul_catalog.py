from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discovery.consul_catalog import Catalog, changed_nodes
from discovery.consul_model import Check, Node, Registration
from discovery.consul_options import ConsulOptions
from mesh.events import SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from tests.support.consul_entries import an_entry


def a_catalog() -> Catalog:
    return Catalog("consul", ConsulOptions())


def a_check(ident: str, status: str, *, node: str = "n1", service: str = "") -> Check:
    return Check.model_validate({"Node": node, "CheckID": ident, "Status": status, "ServiceName": service})


def a_node(name: str, index: int) -> Node:
    return Node.model_validate({"Node": name, "ModifyIndex": index})


def test_an_answer_changes_what_differs_and_nothing_else() -> None:
    catalog = a_catalog()
    first = catalog.put("api", [an_entry("a"), an_entry("b")])
    assert first
    assert len(first.services) == 1
    assert len(first.workloads) == 2
    assert catalog.put("api", [an_entry("b"), an_entry("a")]) is None
    changed = catalog.put("api", [an_entry("a"), an_entry("b", port=9)])
    assert changed
    assert not changed.services
    assert [workload.key.name for workload in changed.workloads] == ["n1.b"]
    gone = catalog.put("api", [])
    assert gone == SourceUpdate(
        "consul",
        removed_services=(Key("default", "api"),),
        removed_workloads=(Key("default", "n1.a"), Key("default", "n1.b")),
    )
    assert not catalog.names


def test_one_name_for_two_workloads_is_refused_with_both_names() -> None:
    catalog = a_catalog()
    meta = {"workload": "one"}
    catalog.put("web", [an_entry("w", "web", age=5, meta=meta)])
    catalog.put("api", [an_entry("a", "api", age=9, meta=meta)])
    assert catalog.snapshot().workloads[0].services == (Key("default", "web"),)
    assert catalog.warnings() == (
        (
            "consul: service api, instance a, node n1 is left out: its workload name default/one is also that of "
            "consul: service web, instance w, node n1, which is older: set meta workload to another name"
        ),
    )
    # When the older goes, the name is the other's.
    update = catalog.put("web", [])
    assert update
    assert update.workloads[0].services == (Key("default", "api"),)
    assert not update.removed_workloads
    assert not catalog.warnings()


def test_which_services_a_poll_concerns() -> None:
    catalog = a_catalog()
    catalog.put("api", [an_entry("a", node="n1")])
    catalog.put("web", [an_entry("w", "web", node="n2")])
    assert catalog.affected([], [a_check("c", "critical", service="api")]) == {"api"}
    assert catalog.affected([a_check("c", "critical", node="n2")], []) == {"web"}
    same = [a_check("c", "warning", service="api")]
    assert catalog.affected(same, list(same)) == set()
    assert catalog.affected(same, [a_check("c", "critical", service="api")]) == {"api"}
    assert catalog.on_nodes(["n2", "n3"]) == {"web"}
    before, after = [a_node("n1", 1), a_node("n2", 2)], [a_node("n2", 3), a_node("n3", 4)]
    assert changed_nodes(before, after) == {"n1", "n2", "n3"}


def test_the_checks_tell_of_most_that_came_or_went() -> None:
    catalog = a_catalog()
    for name in ("same", "worse", "gone"):
        catalog.put(name, [an_entry(f"{name}-1", name)])
    catalog.put("bare", [an_entry("bare-1", "bare", checks=())])
    checks = [
        a_check("c0", "passing", service="same"),
        a_check("c0", "critical", service="worse"),
        a_check("c0", "passing", service="new"),
        a_check("c0", "passing", service="consul"),
        a_check("serfHealth", "critical"),
    ]
    assert catalog.differing_checks(checks) == {"worse", "gone", "new"}


def test_a_sweep_finds_what_came_went_and_changed() -> None:
    catalog = a_catalog()
    for name in ("same", "moved", "gone"):
        catalog.put(name, [an_entry(f"{name}-1", name)])

    def swept(name: str, index: int) -> tuple[str, Registration]:
        return "n1", Registration.model_validate({"ID": f"{name}-1", "Service": name, "ModifyIndex": index})

    found = [swept("same", 10), swept("moved", 11), swept("new", 12), swept("consul", 1)]
    assert catalog.differing(found) == {"moved", "gone", "new"}


@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from(["api", "web", "db"]),
            st.lists(
                st.tuples(st.sampled_from("abcd"), st.sampled_from(["one", "two", ""]), st.integers(1, 4)),
                max_size=4,
                unique_by=lambda entry: entry[0],
            ),
        ),
        max_size=12,
    )
)
def test_updates_and_snapshots_agree(answers: list[tuple[str, list[tuple[str, str, int]]]]) -> None:
    catalog = a_catalog()
    state = MeshState("mesh.test")
    for name, entries in answers:
        update = catalog.put(
            name,
            [
                an_entry(f"{name}-{ident}", name, age=age, meta={"workload": given})
                for ident, given, age in entries
            ],
        )
        if update is not None:
            state, changes = state.apply(update)
            assert changes
    whole, _ = MeshState("mesh.test").apply(catalog.snapshot())
    assert (state.services, state.workloads, state.members) == (
        whole.services,
        whole.workloads,
        whole.members,
    )
