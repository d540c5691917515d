"""A workload whose proxy leaves is told apart from one whose checks are critical."""

from __future__ import annotations

from explain.explaining import explain
from explain.question import Question
from explain.world import World
from mesh.names import Key
from tests.golden.test_explanations import FOLDER, read


def test_who_leaves_is_named() -> None:
    state, _ = read(FOLDER / "answered").without(frozenset({Key("default", "api-1")}))
    found = explain(World.of(state), Question("web", to="api"))
    (endpoints,) = [each for each in found.root.every_step() if each.stage == "endpoints"]
    assert endpoints.details[-1] == "left out, for they are critical: default/api-1 (its proxy leaves)"
    state, _ = state.without(frozenset({Key("default", "api-1"), Key("default", "api-2")}))
    ((_, outcome),) = explain(World.of(state), Question("web", to="api")).outcomes()
    assert outcome.status == 503
    assert "its proxy leaves" in outcome.why
