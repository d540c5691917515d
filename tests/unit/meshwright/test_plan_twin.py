"""What is reckoned beside a publisher is what the publisher then says, whatever documents come and go."""

from __future__ import annotations

from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from meshwright.certificates import NoCertificates
from meshwright.plan.fleet import Member, declared
from meshwright.plan.twin import Setting, by_client, given
from tests.support.policy_worlds import WORKLOADS, Told, Written, sets

Said = set[tuple[str, str, str, bytes | None]]
"""By client, type and name: the new bytes; None: it is removed."""


def planned(world: Told, changed: Told) -> Said:
    """What a plan says of the step from `world` to `changed`."""
    new, changes = world.state.apply(changed.documents.to_snapshot("file"))
    found = given(world.state, new, changes, declared(world.state), Setting(NoCertificates()))
    return {
        (client, one.type_url, one.name, after.body if after is not None else None)
        for clients, differences in by_client(found)
        for client in clients
        for before, after in differences
        if (one := after or before) is not None
    }


def happened(before: Told, after: Told) -> Said:
    was, now = before.gives(), after.gives()
    return {
        (str(workload), *name, now[workload].get(name))
        for workload in WORKLOADS
        for name in {*was[workload], *now[workload]}
        if was[workload].get(name) != now[workload].get(name)
    }


@over(st.lists(sets(most=4), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_a_plan_says_what_is_then_given(steps: list[list[Written]]) -> None:
    world, there = Told(), list[Written]()
    for wanted in steps:
        before, after = Told(), Told()
        for each in there:
            before.put(each)
            after.put(each)
        for each in there:
            after.remove(each)
        for each in wanted:
            after.put(each)
        said = planned(before, after)
        for each in there:
            world.remove(each)
        for each in wanted:
            world.put(each)
        assert said == happened(before, after)
        there = wanted


def test_who_has_the_same_is_reckoned_once() -> None:
    world, after = Told(), Told()
    after.put(Written("TimeoutPolicy", "default", "a", '{"targetRefs": [{"kind": "Mesh"}], "request": "3s"}'))
    new, changes = world.state.apply(after.documents.to_snapshot("file"))
    found = list(
        by_client(given(world.state, new, changes, declared(world.state), Setting(NoCertificates())))
    )
    assert sorted(client for clients, _ in found for client in clients) == [str(key) for key in WORKLOADS]


def test_a_client_that_stands_elsewhere_is_taken_as_it_stands() -> None:
    world, after = Told(), Told()
    after.put(Written("TimeoutPolicy", "default", "a", '{"targetRefs": [{"kind": "Mesh"}], "request": "3s"}'))
    new, changes = world.state.apply(after.documents.to_snapshot("file"))
    attached = [
        Member(each.workload, each.proved, each.proxyless, each.scopes, each.at_once)
        for each in world.publisher.attached()
    ]
    setting = Setting(NoCertificates())
    adopted = given(world.state, new, changes, tuple(attached), setting)
    fresh = given(world.state, new, changes, declared(world.state), setting)
    assert {clients: _names(found) for clients, found in by_client(adopted)} == {
        clients: _names(found) for clients, found in by_client(fresh)
    }


def _names(found: tuple[tuple[object, object], ...]) -> set[str]:
    return {str(getattr(after or before, "name", "")) for before, after in found}
