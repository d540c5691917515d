"""The indices of policies: the same answers as asking every one, and the work of those alone that are concerned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from mesh import declared
from mesh.events import Declared, SourceUpdate
from mesh.identity import Identity
from mesh.names import Key
from mesh.policy import Policy, PolicyIndex
from mesh.state import MeshState
from mesh.targeting import Caller, CallerRef, TargetRef, concerns
from tests.support.builders import a_key, a_service, a_state, a_workload

NAMES = st.sampled_from(["a", "b"])
OR_NONE = st.none() | NAMES
REFS = st.builds(CallerRef, NAMES, OR_NONE, OR_NONE, OR_NONE)
TARGETS = st.sampled_from([TargetRef.mesh(), TargetRef.service(Key("a", "a"))])
POLICIES = st.builds(
    Policy,
    st.sampled_from(["RateLimit", "AccessPolicy"]),
    st.builds(Key, NAMES, NAMES),
    st.lists(TARGETS, min_size=1, max_size=3).map(tuple),
    st.just(Map({"n": 1})),
    callers=st.lists(REFS, max_size=3).map(tuple),
    mentions=st.lists(REFS, max_size=3).map(tuple),
)
CALLERS = st.builds(
    Caller, st.builds(Key, NAMES, NAMES), NAMES, st.lists(st.builds(Key, NAMES, NAMES), max_size=2).map(tuple)
)


@given(st.lists(POLICIES, max_size=8), CALLERS)
def test_whom_policies_are_for_is_found_without_asking_each(policies: list[Policy], caller: Caller) -> None:
    index = PolicyIndex()
    for each in policies:
        index = index.put(each)
    asked = {name for name, each in index.policies.items() if each.callers and concerns(each.callers, caller)}
    assert index.facets(caller) == asked
    attached = {each.name: list(each.attachments()) for each in index.policies.values()}
    assert sum(map(len, index.attached.values())) == sum(map(len, attached.values()))
    assert all(list(each) == sorted(each, key=lambda one: one.key) for each in index.attached.values())
    for name in list(index.policies):
        index = index.without(name)
    assert index == PolicyIndex()


@pytest.mark.parametrize("policies", [10, 400])
def test_a_workload_that_comes_asks_those_policies_alone_that_name_its_service(
    policies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, new = _naming(policies), a_workload("s3-new", services=["s3"], service_account="other")
    calls = _counted(monkeypatch)
    changes = state.apply(SourceUpdate("test", workloads=(new,)))[1]
    assert {each.name for each in changes.workloads} == {"s3-new", "s4-1"}
    assert calls["identities"] <= 6
    assert calls["reach"] == policies // 10


@pytest.mark.parametrize("members", [2, 50])
def test_identities_are_told_without_asking_the_members(
    members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [
        a_workload(f"api-{n}", services=["api"], service_account=f"of-{n % 2}") for n in range(members)
    ]
    state = a_state(a_service("api"), *several)
    # Whoever asked the members would find none.
    alone = replace(state, workloads=Map(), members=Map())
    assert [each.service_account for each in alone.identities(a_key("api"))] == ["of-0", "of-1"]
    fewer = SourceUpdate("test", removed_workloads=tuple(each.key for each in several[1::2]))
    assert [each.service_account for each in state.apply(fewer)[0].identities(a_key("api"))] == ["of-0"]


def _naming(policies: int) -> MeshState:
    """Ten services; policy n is about service n+1 and mentions service n."""
    values = [a_service(f"s{n}") for n in range(10)] + [
        a_workload(f"s{n}-1", services=[f"s{n}"]) for n in range(10)
    ]
    made = (
        Policy(
            "AccessPolicy",
            a_key(f"p{n}"),
            (TargetRef.service(a_key(f"s{(n + 1) % 10}")),),
            Map({"n": n}),
            mentions=(CallerRef("default", service=f"s{n % 10}"),),
        )
        for n in range(policies)
    )
    update = SourceUpdate("test", declared=tuple(Declared(each.kind, each) for each in made))
    return a_state(*values).apply(update)[0]


def _counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often identities, and whom a policy reaches, were asked for."""
    calls, identities, reach = Counter[str](), MeshState.identities, declared._reach

    def asked(state: MeshState, service: Key) -> tuple[Identity, ...]:
        calls["identities"] += 1
        return identities(state, service)

    def reached(state: MeshState, targets: Iterable[TargetRef]) -> tuple[set[Key], set[Key]]:
        calls["reach"] += 1
        return reach(state, targets)

    monkeypatch.setattr(MeshState, "identities", asked)
    monkeypatch.setattr(declared, "_reach", reached)
    return calls
