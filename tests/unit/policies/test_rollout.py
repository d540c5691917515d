"""RolloutPolicy documents, and the plans that they are."""

from __future__ import annotations

import pytest

from documents.parsing import parse
from mesh.names import Key
from mesh.rollout import POINTS, Bounds, NoTraffic, RolloutPolicy, Stage, point, threshold
from mesh.targeting import Level
from policies.registry import KINDS
from policies.rollout import EXAMPLE

HEAD = (
    "apiVersion: meshwright.dev/v1alpha1\nkind: RolloutPolicy\nmetadata: {name: a, namespace: shop}\nspec: "
)


def read(spec: str) -> RolloutPolicy:
    found = parse("a.yaml", (HEAD + spec).encode(), KINDS)
    assert not found.errors, found.errors
    value = found.documents[0].value
    assert isinstance(value, RolloutPolicy)
    return value


def test_the_example() -> None:
    found = parse("a.yaml", EXAMPLE.encode(), KINDS)
    value = found.documents[0].value
    assert isinstance(value, RolloutPolicy)
    assert [(each.share, each.bake) for each in value.plan.stages] == [(5, 300), (50, 120), (100, 120)]
    assert value.plan.bounds == Bounds(errors_over=0.5, p99_over=1.5, p99=1.0)


def test_what_is_not_said() -> None:
    plan = read("{targetRefs: [{kind: Mesh}], stages: [{percent: 10}]}").plan
    assert plan.stages == (Stage(120, 10), Stage(120, 100))
    assert plan.bounds == Bounds()
    assert (plan.acknowledgements, plan.no_traffic, plan.patience) == (60, NoTraffic.PROCEED, 3600)


def test_labels_and_zones() -> None:
    plan = read(
        "{targetRefs: [{kind: Mesh}], stages: [{labels: {track: canary}, bake: 1s}, {zones: [b, a]}], latency: {}}"
    ).plan
    assert plan.stages == (
        Stage(1, labels=(("track", "canary"),)),
        Stage(120, zones=("a", "b")),
        Stage(120, 100),
    )
    assert str(plan) == "track=canary, zone a,b, 100%"
    assert plan.bounds.p99_over is None


def test_which_documents_it_means() -> None:
    policy = read(
        "{targetRefs: [{kind: Namespace}, {kind: Service, name: api, namespace: other}], kinds: [HTTPRoute], stages: [{percent: 1}]}"
    )
    api = frozenset({Key("other", "api")})
    assert policy.rank("HTTPRoute", Key("shop", "x"), frozenset()) is Level.NAMESPACE
    assert policy.rank("HTTPRoute", Key("shop", "x"), api) is Level.SERVICE
    assert policy.rank("HTTPRoute", Key("third", "x"), frozenset()) is None
    assert policy.rank("RetryPolicy", Key("shop", "x"), api) is None


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("{targetRefs: [{kind: Mesh}], stages: [{percent: 5, zones: [a]}]}", "in one way"),
        ("{targetRefs: [{kind: Mesh}], stages: [{}]}", "in one way"),
        ("{targetRefs: [{kind: Mesh}], stages: [{percent: 50}, {percent: 5}]}", "adds nothing"),
        ("{targetRefs: [{kind: Service}], stages: [{percent: 50}]}", "which Service"),
        ("{targetRefs: [{kind: Mesh, name: x}], stages: [{percent: 50}]}", "one mesh"),
        ("{targetRefs: [{kind: Mesh}], kinds: [Workload], stages: [{percent: 50}]}", "some proxies first"),
    ],
)
def test_what_is_refused(spec: str, reason: str) -> None:
    errors = parse("a.yaml", (HEAD + spec).encode(), KINDS).errors
    assert any(reason in str(each) for each in errors), errors


def test_a_larger_share_has_all_of_a_smaller_one_and_one_at_least() -> None:
    everybody = frozenset(Key("default", f"web-{n}") for n in range(40))
    taken = [
        {each for each in everybody if point(each) < threshold(everybody, share)} for share in (1, 5, 50, 100)
    ]
    assert [len(each) for each in taken] == [1, 2, 20, 40]
    assert taken[0] < taken[1] < taken[2] < taken[3]
    assert threshold(everybody, 100) == POINTS
    assert threshold(frozenset(), 50) == 0
