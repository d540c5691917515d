"""Targeting, on what sidecars are really told: whatever is written in whatever order, the nearest says what holds, and what is
taken away leaves no trace.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.names import Key
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from tests.support.policy_worlds import ROUTE as ROUTE_TARGET
from tests.support.policy_worlds import WORKLOADS, Told, Written, sets
from tests.support.policy_worlds import policies as written
from xds.resource import Name
from xds.types import CLUSTER, ROUTE

EXAMPLES = 50
LEVELS = {"Mesh": 0, "Namespace": 1, "Service": 2, "HTTPRoute": 4}


def told(policies: Sequence[Written]) -> Told:
    mesh = Told()
    for each in policies:
        mesh.put(each)
    return mesh


@pytest.fixture(scope="module")
def plain() -> dict[Key, dict[Name, bytes]]:
    """What sidecars are given where nobody says anything."""
    return Told().gives()


@given(sets(), st.data())
@settings(max_examples=EXAMPLES)
def test_the_order_of_documents_does_not_matter(policies: list[Written], data: st.DataObject) -> None:
    one, other = told(policies), told(data.draw(st.permutations(policies)))
    assert one.gives() == other.gives()
    assert one.publisher.problems == other.publisher.problems


@given(sets(most=4), sets(most=2))
@settings(max_examples=EXAMPLES)
def test_what_is_removed_leaves_everything_as_it_was_to_the_byte(
    policies: list[Written], guests: list[Written]
) -> None:
    names = {(each.kind, each.namespace, each.name) for each in policies}
    guests = [each for each in guests if (each.kind, each.namespace, each.name) not in names]
    mesh = told(policies)
    before, problems = mesh.gives(), mesh.publisher.problems
    for each in guests:
        mesh.put(each)
    for each in guests:
        mesh.remove(each)
    assert mesh.gives() == before
    assert mesh.publisher.problems == problems


@given(sets(most=4), st.data())
@settings(max_examples=EXAMPLES // 2)
def test_only_what_is_there_in_the_end_counts(policies: list[Written], data: st.DataObject) -> None:
    """A history of changes of one document ends as if the last had been there from the beginning."""
    mesh = told(policies)
    for each in policies:
        mesh.put(Written(each.kind, each.namespace, each.name, data.draw(_specs(each.kind)), each.created))
    for each in policies:
        mesh.put(each)
    fresh = told(policies)
    assert mesh.gives() == fresh.gives()
    assert mesh.publisher.problems == fresh.publisher.problems


def test_what_is_wrong_only_together_is_named_while_it_is() -> None:
    """Two policies, each right by itself: both are left out where they meet, and nothing is said of it any more once one is gone."""
    base = _policy("RetryPolicy", "a", {"targetRefs": [{"kind": "Mesh"}], "backoff": {"base": "100ms"}})
    most = _policy("RetryPolicy", "b", {"targetRefs": [ROUTE_TARGET], "backoff": {"max": "50ms"}})
    mesh = told([base])
    alone = mesh.gives()
    assert mesh.publisher.problems == {}
    mesh.put(most)
    ((place, said),) = mesh.publisher.problems.items()
    assert place == "RetryPolicy at HTTPRoute default/api"
    assert said.endswith(
        ": left out: ValueError: several policies together say backoff.base 100ms and backoff.max 50ms, which is less: change one"
    )
    assert "default/a" in said
    assert "default/b" in said
    assert mesh.publisher.policies_left_out == 1
    route = _action(mesh.gives()[Key("default", "web-1")][ROUTE, "default/api:80"])
    assert not route.retry_policy.HasField("retry_back_off")
    mesh.remove(most)
    assert mesh.publisher.problems == {}
    assert mesh.gives() == alone
    mesh.put(most)
    mesh.remove(base)
    assert mesh.publisher.problems == {}


def _policy(kind: str, name: str, spec: dict[str, object]) -> Written:
    return Written(kind, "default", name, json.dumps(spec))


def _specs(kind: str) -> st.SearchStrategy[str]:
    return written((kind,)).map(lambda found: found.spec)


@given(policies=sets(("TimeoutPolicy",), most=6))
@settings(max_examples=2 * EXAMPLES)
def test_the_nearest_target_wins_field_by_field(
    plain: dict[Key, dict[Name, bytes]], policies: list[Written]
) -> None:
    mesh = told(policies).gives()
    for caller in WORKLOADS:
        for service, route in ((Key("default", "api"), True), (Key("shop", "cart"), False)):
            name = f"{service}:80"
            action = _action(mesh[caller][ROUTE, name])
            said = {
                field: _winner(policies, field, caller, service, route=route)
                for field in ("request", "idle", "perTry")
            }
            old = _action(plain[caller][ROUTE, name])
            assert action.timeout.ToTimedelta() == _or(said["request"], old.timeout.ToTimedelta())
            assert action.idle_timeout.ToTimedelta() == _or(said["idle"], old.idle_timeout.ToTimedelta())
            assert action.retry_policy.per_try_timeout.ToTimedelta() == _or(said["perTry"], timedelta())
            # A cluster is a service's: what is said of one route of it does not reach it.
            connect = _winner(policies, "connect", caller, service, route=False)
            cluster, before = (
                Cluster.FromString(each[caller][CLUSTER, name]).connect_timeout.ToTimedelta()
                for each in (mesh, plain)
            )
            assert cluster == _or(connect, before)


def _action(body: bytes) -> RouteAction:
    return RouteConfiguration.FromString(body).virtual_hosts[0].routes[0].route


def _or(text: str | None, default: timedelta) -> timedelta:
    return default if text is None else timedelta(seconds=int(text.removesuffix("s")))


def _winner(policies: list[Written], field: str, caller: Key, service: Key, *, route: bool) -> str | None:
    """What the documents say of `field`, told anew from the rules in words and with nothing of the program."""
    found: list[tuple[tuple[object, ...], str]] = []
    for each in policies:
        spec = json.loads(each.spec)
        if field not in spec or not _concerns(spec.get("from"), caller):
            continue
        for target in spec["targetRefs"]:
            if not _covers(target, service, route=route):
                continue
            level = LEVELS[target["kind"]]
            strength = (0, level) if spec.get("enforced") else (1, -level)
            found.append(((*strength, each.created or "9999", each.namespace, each.name), spec[field]))
    return min(found)[1] if found else None


def _concerns(callers: list[dict[str, str]] | None, caller: Key) -> bool:
    return callers is None or any(
        caller == Key("default", "web-1") if "service" in each else caller.namespace == each["namespace"]
        for each in callers
    )


def _covers(target: dict[str, str], service: Key, *, route: bool) -> bool:
    match target["kind"]:
        case "Mesh":
            return True
        case "Namespace":
            return target["name"] == service.namespace
        case "Service":
            return Key(target["namespace"], target["name"]) == service
        case _:
            return route and target == ROUTE_TARGET
