"""What changes tell, and that the work of one grows with what it touches."""

from __future__ import annotations

import random

import pytest

from discovery import kubernetes_mapping
from discovery.kubernetes_catalog import Catalog
from discovery.kubernetes_model import keep_node, keep_pod, keep_service, keep_slice
from kube.resource import name_of
from mesh.events import SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from mesh.workload import Health
from tests.support.kubernetes.values import Json, a_node, a_pod, a_service, a_slice, an_endpoint, port


def put(catalog: Catalog, kind: str, value: Json, *, gone: bool = False) -> None:
    match kind:
        case "service":
            catalog.put_service(name_of(value), None if gone else keep_service(value))
        case "slice":
            catalog.put_slice(name_of(value), None if gone else keep_slice(value))
        case "pod":
            catalog.put_pod(name_of(value), None if gone else keep_pod(value))
        case _:
            catalog.put_node(name_of(value), None if gone else keep_node(value))


def settled(catalog: Catalog) -> SourceUpdate:
    update = catalog.settle()
    assert update is not None
    return update


def shop(count: int = 3) -> Catalog:
    """Services api and web, of `count` pods each."""
    catalog = Catalog("kubernetes")
    for name in ("api", "web"):
        put(catalog, "service", a_service(name))
        endpoints = [an_endpoint(f"10.1.0.{n}", f"{name}-{n}") for n in range(count)]
        put(catalog, "slice", a_slice(f"{name}-x", *endpoints, service=name))
        for n in range(count):
            put(catalog, "pod", a_pod(f"{name}-{n}", f"10.1.0.{n}", node=f"node-{n}"))
    catalog.settle()
    return catalog


def test_nothing_new_tells_nothing() -> None:
    catalog = shop()
    put(catalog, "service", a_service("api"))
    put(catalog, "pod", a_pod("api-1", "10.1.0.1", node="node-1"))
    assert catalog.settle() is None


def test_a_slice_concerns_its_own_workloads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = shop(200)
    reckoned: list[Key] = []
    real = kubernetes_mapping.pod_workload

    def counted(source: str, key: Key, *others: object) -> object:
        reckoned.append(key)
        return real(source, key, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(kubernetes_mapping, "pod_workload", counted)
    endpoints = [an_endpoint(f"10.1.0.{n}", f"api-{n}", ready=n != 7) for n in range(200)]
    put(catalog, "slice", a_slice("api-x", *endpoints))
    update = settled(catalog)
    assert reckoned == [Key("shop", "api-7")]
    assert [(each.key.name, each.health) for each in update.workloads] == [("api-7", Health.CRITICAL)]
    assert not update.services


def test_a_node_concerns_its_pods() -> None:
    catalog = shop()
    put(catalog, "node", a_node("node-1", "eu", "b"))
    assert [each.key.name for each in settled(catalog).workloads] == ["api-1", "web-1"]


def test_a_service_that_goes_leaves_its_pods_as_callers() -> None:
    catalog = shop()
    put(catalog, "service", a_service("api"), gone=True)
    update = settled(catalog)
    assert update.removed_services == (Key("shop", "api"),)
    assert {each.key.name: each.services for each in update.workloads} == {f"api-{n}": () for n in range(3)}


def test_a_pod_that_goes_before_its_slice_is_gone() -> None:
    catalog = shop()
    put(catalog, "pod", a_pod("api-1"), gone=True)
    assert settled(catalog).removed_workloads == (Key("shop", "api-1"),)
    put(
        catalog, "slice", a_slice("api-x", an_endpoint("10.1.0.0", "api-0"), an_endpoint("10.1.0.2", "api-2"))
    )
    assert catalog.settle() is None


def test_a_slice_may_be_moved_to_another_service() -> None:
    catalog = shop()
    moved = a_slice("api-x", an_endpoint("10.1.0.0", "api-0"), service="web")
    put(catalog, "slice", moved)
    update = settled(catalog)
    assert {each.key.name: each.services for each in update.workloads} == {
        "api-0": (Key("shop", "web"),),
        "api-1": (),
        "api-2": (),
    }


def test_warnings_come_and_go_with_what_they_are_about() -> None:
    catalog = shop()
    put(catalog, "service", a_service("sig", port("x", 1, transport="SCTP")))
    catalog.settle()
    assert len(catalog.warnings()) == 1
    put(catalog, "service", a_service("sig"))
    catalog.settle()
    assert catalog.warnings() == ()


def test_any_order_of_changes_leads_to_the_same_as_the_whole() -> None:
    """Pods, slices, nodes and services in any order, with removals between: the state is that of all that is left."""
    for seed in range(60):
        chance = random.Random(seed)
        catalog, state = Catalog("kubernetes"), MeshState("mesh.local")
        state, _ = state.apply(catalog.snapshot())
        left: dict[tuple[str, str], Json] = {}
        for _ in range(120):
            kind = chance.choice(["service", "slice", "pod", "node"])
            value = _random_object(kind, chance)
            gone = chance.random() < 0.3
            put(catalog, kind, value, gone=gone)
            left.pop((kind, value["metadata"]["name"]), None)
            if not gone:
                left[kind, value["metadata"]["name"]] = value
            if chance.random() < 0.5 and (update := catalog.settle()) is not None:
                state, _ = state.apply(update)
        if (update := catalog.settle()) is not None:
            state, _ = state.apply(update)
        whole = Catalog("kubernetes")
        for (kind, _name), value in left.items():
            put(whole, kind, value)
        whole.settle()
        expected, _ = MeshState("mesh.local").apply(whole.snapshot())
        assert whole.snapshot() == catalog.snapshot(), f"seed {seed}"
        assert (state.services, state.workloads, state.members) == (
            expected.services,
            expected.workloads,
            expected.members,
        ), f"seed {seed}"


def _random_object(kind: str, chance: random.Random) -> Json:
    match kind:
        case "service":
            return a_service(chance.choice("abc"), port(chance.choice(["http", "x"]), 80))
        case "slice":
            endpoints = [
                an_endpoint(
                    f"10.1.0.{n}",
                    f"pod-{n}" if chance.random() < 0.8 else "",
                    ready=chance.random() < 0.6,
                    terminating=chance.random() < 0.3,
                    serving=chance.random() < 0.7,
                    node=chance.choice(["", "n1", "n2"]),
                )
                for n in chance.sample(range(5), chance.randrange(4))
            ]
            return a_slice(
                chance.choice("stuv"), *endpoints, service=chance.choice("abc"), ports={"http": 80, "x": 81}
            )
        case "pod":
            n = chance.randrange(5)
            return a_pod(
                f"pod-{n}", f"10.1.0.{n}", meshed=chance.random() < 0.5, node=chance.choice(["n1", "n2"])
            )
        case _:
            return a_node(chance.choice(["n1", "n2"]), "eu", chance.choice("ab"))
