"""What is reckoned beside a publisher is what the publisher then says, whatever documents come and go."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from discovery.file import difference
from mesh.events import SourceUpdate
from mesh.names import Key
from meshwright.certificates import NoCertificates
from meshwright.editions import Instead, Overlay
from meshwright.plan.fleet import Member, declared
from meshwright.plan.twin import Setting, by_client, given
from meshwright.scopes import Runtime
from tests.support.policy_worlds import WORKLOADS, Told, Written, sets
from xds.types import ROUTE, RUNTIME

Said = set[tuple[str, str, str, bytes | None]]
"""By client, type and name: the new bytes; None: it is removed."""


SETTING = Setting(NoCertificates())


def step(world: Told, changed: Told) -> list[SourceUpdate]:
    """What leads from one to the other."""
    update = difference("file", world.documents, changed.documents)
    return [update] if update is not None else []


def planned(world: Told, changed: Told) -> Said:
    """What a plan says of the step from `world` to `changed`."""
    found = given(world.state, step(world, changed), declared(world.state), SETTING)
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
    found = list(by_client(given(world.state, step(world, after), declared(world.state), SETTING)))
    assert sorted(client for clients, _ in found for client in clients) == [str(key) for key in WORKLOADS]


def test_a_client_that_stands_elsewhere_is_taken_as_it_stands() -> None:
    world, after = Told(), Told()
    after.put(Written("TimeoutPolicy", "default", "a", '{"targetRefs": [{"kind": "Mesh"}], "request": "3s"}'))
    attached = [
        Member(each.workload, each.proved, each.proxyless, each.scopes, each.at_once)
        for each in world.publisher.attached()
    ]
    adopted = given(world.state, step(world, after), tuple(attached), SETTING)
    fresh = given(world.state, step(world, after), declared(world.state), SETTING)
    assert {clients: _names(found) for clients, found in by_client(adopted)} == {
        clients: _names(found) for clients, found in by_client(fresh)
    }


def test_that_somebody_looks_on_is_no_change() -> None:
    world, after = Told(), Told()
    after.put(Written("TimeoutPolicy", "default", "a", '{"targetRefs": [{"kind": "Mesh"}], "request": "3s"}'))
    watched = tuple(
        Member(
            each.workload,
            each.proved,
            each.proxyless,
            tuple(Runtime(watching=True) if isinstance(scope, Runtime) else scope for scope in each.scopes),
            each.at_once,
        )
        for each in world.publisher.attached()
    )
    assert any(Runtime(watching=True) in each.scopes for each in watched)
    found = given(world.state, step(world, after), watched, SETTING)
    assert any(Runtime(watching=False) in scopes for scopes in found.after.values()), (
        "the twin watches nobody"
    )
    types = {one.type_url for _, of in by_client(found) for pair in of for one in pair if one is not None}
    assert ROUTE in types
    assert RUNTIME not in types


def _names(found: tuple[tuple[object, object], ...]) -> set[str]:
    return {str(getattr(after or before, "name", "")) for before, after in found}


SLOW = Written("TimeoutPolicy", "default", "a", '{"targetRefs": [{"kind": "Mesh"}], "request": "9s"}')
QUICK = Written("TimeoutPolicy", "default", "a", '{"targetRefs": [{"kind": "Mesh"}], "request": "1s"}')
OTHER = Written("CircuitBreaker", "default", "b", '{"targetRefs": [{"kind": "Mesh"}], "connections": 7}')


def overlaid(world: Told, instead: Written) -> tuple[Member, ...]:
    """The first client is of an edition with `instead`, and stands there; the others are of the base."""
    another = Told()
    another.put(instead)
    name = instead.kind, Key(instead.namespace, instead.name)
    held_value = next(
        each.as_declared() for each in another.documents.documents if (each.kind, each.key) == name
    )
    overlay = Overlay.of({name: Instead("file", held_value)})
    first, *others = declared(world.state)
    return replace(first, overlay=overlay), *others


def test_a_client_of_another_edition_keeps_what_stands_for_others() -> None:
    world, after = Told(), Told()
    for each in (world, after):
        each.put(SLOW)
    after.put(OTHER)
    found = given(world.state, step(world, after), overlaid(world, QUICK), SETTING)
    differing = {client: _names(of) for clients, of in by_client(found) for client in clients}
    assert "default/api:80" in differing["default/api-1"]
    assert differing["default/api-1"] == differing["default/web-1"]


def test_of_a_document_that_is_written_nothing_else_stands_in_the_end() -> None:
    world, after = Told(), Told()
    world.put(SLOW)
    after.put(Written(SLOW.kind, SLOW.namespace, SLOW.name, SLOW.spec.replace("9s", "8s")))
    found = given(world.state, step(world, after), overlaid(world, QUICK), SETTING)
    given_then = {
        client: {
            (each.type_url, each.name): each.version
            for scope in found.after[client]
            for each in found.held.now(scope).values()
            if each.type_url == ROUTE
        }
        for client in ("default/api-1", "default/web-1")
    }
    shared = given_then["default/api-1"].keys() & given_then["default/web-1"].keys()
    assert shared
    assert all(given_then["default/api-1"][name] == given_then["default/web-1"][name] for name in shared)
