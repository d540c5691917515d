from __future__ import annotations

from dataclasses import replace

import pytest

from envoy.packing import CDS, LDS
from envoy.seams import NOTHING
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from policies.effects import notes
from policies.envoy_patch import EXAMPLE, KIND
from tests.support.builders import a_proxy, a_service
from tests.support.policy_documents import CALLEE, CALLER, accepted, added, declared, refusals
from tests.support.policy_worlds import Told, Written

MESSAGE = "See the message envoy.config.cluster.v3.Cluster in Envoy's API"
CLUSTER = "{resource: Cluster, name: c, merge: {altStatName: x}}"
LISTENER = "{resource: Listener, name: l, merge: {statPrefix: x}}"


@pytest.mark.parametrize(
    ("name", "resource", "vain"),
    [
        ("default/api:80", "Cluster", True),
        ("default/api", "RouteConfiguration", True),
        ("inbound/9001/http", "Cluster", False),
        ("inbound/default/api:80", "RouteConfiguration", False),
        ("outbound", "Listener", False),
    ],
)
def test_what_callers_have_of_a_service_is_not_patched_at_a_workload(
    name: str, resource: str, vain: bool
) -> None:
    text = (
        "apiVersion: meshwright.dev/v1alpha1\nkind: EnvoyPatch\nmetadata: {name: p}\nspec:\n"
        f"  targetRefs: [{{kind: %s}}]\n  resource: {resource}\n  name: {name}\n  merge: {{%s: x}}\n"
    )
    field = {
        "Cluster": "altStatName",
        "RouteConfiguration": "requestHeadersToRemove",
        "Listener": "statPrefix",
    }[resource]
    if resource == "RouteConfiguration":
        text = text.replace(": x}", ": [x]}")

    def told(target: str) -> list[str]:
        state, _ = MeshState("mesh.test").apply(
            SourceSnapshot("s", (a_service("api"),), (a_proxy("web-1"),), declared(text % (target, field)))
        )
        (policy,) = state.policies.policies.values()
        return list(notes(state, policy))

    assert [
        each.startswith("no effect at workload default/web-1: ") for each in told("Workload, name: web-1")
    ] == [True] * vain
    assert told("Service, name: api") == []


def test_what_is_said_is_kept_with_whose_it_is() -> None:
    (made,) = added(KIND, CLUSTER).patches
    assert (made.type_url, made.name, made.by) == (CDS, "c", "default/p")
    assert Cluster.FromString(made.body) == Cluster(alt_stat_name="x")


def test_callers_have_no_listener_of_a_service_but_a_sidecar_has() -> None:
    assert added(KIND, LISTENER, CALLER) == NOTHING
    own_calls = replace(CALLER, service=None, workload=Key("default", "web-1"))
    for where in (CALLEE, own_calls):
        (made,) = added(KIND, LISTENER, where).patches
        assert made.type_url == LDS


def test_what_a_callee_has_is_the_same_for_all_callers() -> None:
    assert added(KIND, CLUSTER, replace(CALLEE, callers=("spiffe://mesh.test/ns/a/",))) == NOTHING


def patch(name: str, merge: str) -> Written:
    spec = f'{{"targetRefs": [{{"kind": "Mesh"}}], "resource": "Cluster", "name": "default/api:80", "merge": {merge}}}'
    return Written("EnvoyPatch", "default", name, spec)


def test_one_that_breaks_a_constraint_is_left_out_named_and_counted_until_it_is_mended() -> None:
    mesh = Told()
    mesh.put(patch("good", '{"altStatName": "patched"}'))
    before = mesh.gives()
    made = Cluster.FromString(before[Key("default", "web-1")][CDS, "default/api:80"])
    assert made.alt_stat_name == "patched"
    mesh.put(patch("wrong", '{"connectTimeout": "0s"}'))
    assert mesh.gives() == before
    ((subject, said),) = mesh.publisher.problems.items()
    assert subject == "EnvoyPatch default/wrong at service default/api"
    assert said.startswith("default/api:80: left out: ")
    assert "connect_timeout" in said
    assert mesh.publisher.policies_left_out == 1
    mesh.put(patch("wrong", '{"connectTimeout": "3s"}'))
    assert mesh.publisher.problems == {}
    made = Cluster.FromString(mesh.gives()[Key("default", "web-1")][CDS, "default/api:80"])
    assert (made.alt_stat_name, made.connect_timeout.seconds) == ("patched", 3)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resource: Cluster, name: c", ["spec.merge: merge is missing. Add it"]),
        (
            "merge: {altStatName: x}",
            ["spec.resource: resource is missing. Add it", "spec.name: name is missing. Add it"],
        ),
        (
            "resource: Secret, name: c, merge: {altStatName: x}",
            ["spec.resource: 'Secret' is not known here. Use Cluster, RouteConfiguration or Listener"],
        ),
        (
            "resource: Cluster, name: c, merge: {name: d}",
            ["spec.merge.name: a resource keeps its name. Remove it"],
        ),
        (
            "resource: Cluster, name: c, merge: {conectTimeout: 1s}",
            [f"spec.merge.conectTimeout: envoy.config.cluster.v3.Cluster has no such field. {MESSAGE}"],
        ),
        (
            "resource: Cluster, name: c, merge: {outlierDetection: {nope: 1}}",
            [
                f"spec.merge.outlierDetection.nope: envoy.config.cluster.v3.OutlierDetection has no such field. {MESSAGE}"
            ],
        ),
        (
            "resource: Cluster, name: c, merge: {connectTimeout: 1x}",
            [f'spec.merge.connectTimeout: duration must end with letter "s": 1x. {MESSAGE}'],
        ),
        (
            "resource: Cluster, name: c, merge: [a]",
            ["spec.merge: ['a'] is a list. Give a mapping"],
        ),
        ("resource: Cluster, name: c, merge: {}", ["spec.merge: the mapping is empty. Give at least 1"]),
    ],
)
def test_wrong_documents(spec: str, said: list[str]) -> None:
    assert refusals("EnvoyPatch", spec) == said


def test_the_example() -> None:
    accepted(EXAMPLE)
