"""Whom a document concerns, and whom what it names."""

from __future__ import annotations

import pytest
from immutables import Map

from mesh.events import Changes, Declared, SourceUpdate
from mesh.names import Key
from mesh.policy import Policy
from mesh.service import Service
from mesh.state import MeshState
from mesh.targeting import CallerRef, TargetRef
from mesh.workload import Workload
from tests.support.builders import a_key, a_service, a_state, a_workload

API = a_key("api")
BY_SERVICE = CallerRef("default", service="web")
BY_WORKLOAD = CallerRef("default", workload="web-1")
BY_ACCOUNT = CallerRef("default", service_account="web")
BY_NAMESPACE = CallerRef("default")


def a_limit(*callers: CallerRef, target: TargetRef | None = None, origin: tuple[str, ...] = ()) -> Policy:
    """For calls of the service api, unless another target is given."""
    fields = Map({"local": Map({"requests": 5})})
    targets = (target or TargetRef.service(API),)
    return Policy("RateLimit", a_key("limit"), targets, fields, callers, origin=origin)


def declaring(*policies: Policy) -> SourceUpdate:
    return SourceUpdate("test", declared=tuple(Declared(each.kind, each) for each in policies))


def a_mesh(policy: Policy, *values: Service | Workload) -> MeshState:
    """With api-1 and web-1."""
    state = a_state(a_service("api"), a_service("web"), a_workload("api-1"), a_workload("web-1"), *values)
    return state.apply(declaring(policy))[0]


def woken(state: MeshState, *values: Service | Workload, gone: tuple[Key, ...] = ()) -> set[str]:
    """The names of the workloads that are told of a change."""
    event = SourceUpdate(
        "test",
        tuple(each for each in values if isinstance(each, Service)),
        tuple(each for each in values if isinstance(each, Workload)),
        removed_services=gone,
    )
    return {each.name for each in state.apply(event)[1].workloads}


@pytest.mark.parametrize("caller", [BY_SERVICE, BY_WORKLOAD])
def test_who_enforces_a_policy_is_told_when_its_callers_are_others(caller: CallerRef) -> None:
    state = a_mesh(a_limit(caller))
    assert woken(state, a_workload("web-1", service_account="other")) == {"api-1", "web-1"}
    assert woken(state, a_workload("web-1", address="127.0.0.9")) == {"web-1"}


@pytest.mark.parametrize("caller", [BY_ACCOUNT, BY_NAMESPACE])
def test_callers_that_are_named_by_what_does_not_change_wake_nobody(caller: CallerRef) -> None:
    assert woken(a_mesh(a_limit(caller)), a_workload("web-1", service_account="other")) == {"web-1"}


def test_who_enforces_a_policy_is_told_when_the_calling_service_comes_or_goes() -> None:
    state = a_mesh(a_limit(BY_SERVICE))
    assert woken(state, gone=(a_key("web"),)) == {"api-1"}
    without, _ = state.apply(SourceUpdate("test", removed_services=(a_key("web"),)))
    assert woken(without, a_service("web")) == {"api-1"}
    assert woken(state, a_service("web", address="10.0.0.1")) == set()


def test_what_changes_of_others_wakes_nobody() -> None:
    state = a_mesh(a_limit(BY_SERVICE), a_service("db"), a_workload("db-1"))
    assert woken(state, a_workload("db-1", service_account="other")) == {"db-1"}
    assert state.apply(declaring(a_limit(BY_SERVICE)))[1] == Changes()


def test_a_document_that_says_the_same_again_costs_nothing() -> None:
    """Sources repeat themselves as a whole: then nothing is made anew, however many workloads a policy reaches."""
    policy = a_limit(target=TargetRef.mesh(), origin=("a.yaml",))
    state = a_mesh(policy)
    again, said = state.apply(declaring(a_limit(target=TargetRef.mesh(), origin=("a.yaml",))))
    assert said == Changes()
    assert again.declared is state.declared
    assert again.policies is state.policies


def test_a_document_that_says_the_same_elsewhere_is_found_there_and_changes_nothing() -> None:
    state, said = a_mesh(a_limit(origin=("a.yaml",))).apply(declaring(a_limit(origin=("b.yaml",))))
    assert said == Changes()
    ((name, policy),) = state.declared.items()
    assert policy.origin == ("b.yaml",)
    assert state.policies.policies[name].origin == ("b.yaml",)
