"""What whoever writes a policy is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from documents.parsing import parse
from envoy.render import Renderer
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.policy import Place
from mesh.routing import reachable
from mesh.state import MeshState
from policies import effects
from policies.effects import Effect, effect
from policies.registry import KINDS
from policies.weave import Weaver
from tests.support.builders import a_key, a_proxy, a_service, a_workload
from tests.support.policy_documents import declared

STATE = MeshState("mesh.test").apply(
    SourceSnapshot(
        "s",
        (a_service("api"), a_service("store")),
        (a_proxy("web-1", uses=("api",)), a_proxy("web-2"), a_workload("api-1"), a_proxy("idle", uses=())),
    )
)[0]


def policy(name: str, target: str, said: str, kind: str = "TimeoutPolicy", metadata: str = "") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{metadata}}}\n"
        f"spec:\n  targetRefs: [{target}]\n  {said}\n"
    )


API = "{kind: Service, name: api}"


def written(state: MeshState, *documents: str) -> tuple[MeshState, Effect]:
    parsed = parse("p.yaml", "---\n".join(documents).encode(), KINDS)
    assert not parsed.errors, parsed.errors
    new, changes = state.apply(SourceUpdate("s", declared=tuple(parsed.declared())))
    return new, effect(state, new, changes, Weaver(), Renderer())


def test_how_many_proxies_and_resources_a_policy_concerns() -> None:
    _, told = written(STATE, policy("t", API, "request: 1s"))
    # Two callers and, for what it might say of its own sidecar, the one that serves it; `idle` calls nobody.
    assert told.documents == (("TimeoutPolicy", a_key("t")),)
    assert (told.services, told.resources, told.about) == (1, 2, False)  # routes by name and by port
    assert told.proxies == 2 + STATE.workloads[a_key("api-1")].meshed
    assert told.notes == ()


@pytest.mark.parametrize(
    ("target", "note"),
    [
        ("{kind: Service, name: nope}", "no effect at service default/nope: there is no such service (yet)"),
        ("{kind: Namespace, name: nope}", "no effect at namespace nope: there is no service in it (yet)"),
        ("{kind: HTTPRoute, name: r}", "no effect at HTTPRoute default/r: there is no such route (yet)"),
    ],
)
def test_a_target_that_is_not_there_is_told(target: str, note: str) -> None:
    _, told = written(STATE, policy("t", target, "request: 1s"))
    assert [said for _, said in told.notes] == [note]


def test_what_says_nothing_is_told() -> None:
    _, told = written(STATE, policy("empty", API, ""))
    assert [said for _, said in told.notes] == ["it says nothing: no effect"]
    _, told = written(STATE, policy("calm", API, "", "FaultInjection"))
    assert [said for _, said in told.notes] == [
        "it says nothing: no effect but that none from farther away applies"
    ]


def test_the_older_of_two_prevails_and_the_younger_is_told_field_by_field() -> None:
    state, _ = written(
        STATE, policy("old", API, "request: 1s", metadata=', creationTimestamp: "2026-01-01T00:00:00Z"')
    )
    _, told = written(state, policy("new", API, "request: 2s\n  idle: 5s"))
    assert told.notes == (
        (
            ("TimeoutPolicy", a_key("new")),
            "no effect at service default/api: spec.request: TimeoutPolicy default/old says it too, and is older",
        ),
    )
    assert told.resources == 2  # `idle` has one


def test_what_is_enforced_above_is_told_with_its_name() -> None:
    state, _ = written(STATE, policy("all", "{kind: Mesh}", "enforced: true\n  request: 1s"))
    _, told = written(state, policy("mine", API, "request: 2s"))
    assert [note for _, note in told.notes] == [
        "no effect at service default/api: spec.request: TimeoutPolicy default/all says it too, and is enforced"
    ]
    assert told.resources == 0


def test_of_two_of_one_age_the_first_by_name_prevails() -> None:
    _, told = written(STATE, policy("b", API, "request: 2s"), policy("a", API, "request: 1s"))
    assert [note for _, note in told.notes] == [
        (
            "no effect at service default/api: spec.request: TimeoutPolicy default/a says it too, and of two of one age the first "
            "by name prevails: default/a before default/b"
        )
    ]


def test_of_a_kind_that_is_a_whole_the_nearest_alone_applies() -> None:
    chaos = policy("chaos", API, "headers: [{name: x-chaos}]\n  abort: {httpStatus: 418}", "FaultInjection")
    slow = policy("slow", API, "headers: [{name: x-slow}]\n  delay: {fixed: 700ms}", "FaultInjection")
    state, told = written(STATE, chaos, slow)
    assert [(key.name, note) for (_, key), note in told.notes] == [
        (
            "slow",
            (
                "no effect at service default/api: of this kind one policy alone applies, as a whole: FaultInjection default/chaos "
                "is there too, and of two of one age the first by name prevails: default/chaos before default/slow"
            ),
        )
    ]
    merged = state.policies.merged("FaultInjection", Place("default", a_key("api")), whole=True)
    assert set(merged.fields) == {"headers", "abort"}


@pytest.mark.parametrize("callers", [1, 50])
def test_who_sees_a_service_is_asked_of_routes_and_not_of_each_workload(
    callers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a route as well: `front` leads to `api`."""
    asked: list[object] = []

    def counted(*arguments: Any) -> frozenset[Key]:
        asked.append(arguments)
        return reachable(*arguments)

    monkeypatch.setattr(effects, "reachable", counted)
    route = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
        'spec: {parentRefs: [{group: "", kind: Service, name: front}], '
        "rules: [{backendRefs: [{name: api, port: 80}]}]}\n"
    )
    services = tuple(a_service(name) for name in ("api", "front", "store"))
    workloads = (
        *(a_proxy(f"web-{n}", services=(), uses=["front"]) for n in range(callers)),
        *(a_proxy(f"job-{n}", services=(), uses=["store"]) for n in range(callers)),
        a_proxy("own", services=(), uses=["api"]),
        a_proxy("all", services=()),
    )
    state, _ = MeshState("mesh.test").apply(SourceSnapshot("s", services, workloads, declared(route)))
    _, told = written(state, policy("t", API, "request: 1s"))
    assert told.proxies == callers + 2
    assert len(asked) == 1
