"""Which documents an event has written: all of them, and no others."""

from __future__ import annotations

from dataclasses import replace

from mesh.events import Declared, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from meshwright.writes import written
from tests.support.example_world import documents

WORLD = documents().to_snapshot("files")
FIRST = MeshState("mesh.test").apply(WORLD)[0]


def test_the_first_answer_is_no_write() -> None:
    assert written(MeshState("mesh.test"), WORLD) is None
    assert written(FIRST, SourceSnapshot("consul")) is None


def test_the_same_again_is_no_write() -> None:
    assert written(FIRST, WORLD) == ([], [])


def test_whatever_differs_is_named_a_service_account_too() -> None:
    first, *others = WORLD.workloads
    changed = replace(first, service_account="somebody-else")
    after = replace(WORLD, workloads=(changed, *others), services=WORLD.services[1:])
    assert written(FIRST, after) == ([f"Workload {first.key}"], [f"Service {WORLD.services[0].key}"])


def test_updates_name_what_they_carry() -> None:
    policy = Declared("TimeoutPolicy", WORLD.services[0])  # any value with a key
    gone = Key("default", "old")
    update = SourceUpdate("files", declared=(policy,), removed_declared=(("RetryPolicy", gone),))
    assert written(FIRST, update) == ([f"TimeoutPolicy {policy.value.key}"], ["RetryPolicy default/old"])
