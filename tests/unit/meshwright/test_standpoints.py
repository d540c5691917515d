"""During a rollout or a quarantine an explanation says what the caller's own proxy does, and why that is not what the documents say."""

from __future__ import annotations

from pathlib import Path

from api.shapes.explain import ExplainAnswer, ExplainRequest
from explain.world import World
from mesh.names import Key
from meshwright.explainer import Given, answer, first_of
from meshwright.rollout.machine import Abort
from meshwright.standpoints import Standpoint
from tests.support.quarantining import GOOD, NO_ENVOY, a_mesh, a_patch
from tests.unit.meshwright.test_rollout_driver import FIRST, WEBS, a_world, begun


def explained(where: Standpoint, caller: Key) -> ExplainAnswer:
    """As the explainer does it."""
    request = ExplainRequest.model_validate({"from": str(caller), "to": "api"})
    first = first_of(where.base, request)
    assert first == caller
    world = World.of(where.state_of(first), told=where.state_of)
    return answer(world, request, Given(), where)


async def test_who_is_not_in_the_stage_of_a_rollout_does_what_it_did_before(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world, "7s")

        def now() -> Standpoint:
            return Standpoint.now(world.pipeline.state, world.publisher, world.book.holding(), tuple)

        where, later = now(), WEBS[1]
        assert "timeout 7s" in "\n".join(explained(where, FIRST).text)
        assert explained(where, FIRST).cautions == ()
        found = explained(where, later)
        assert "timeout 7s" not in "\n".join(found.text)
        rollout = world.one().id
        assert found.cautions == (f"rollout {rollout}: {later} is not in its stage",)
        world.away = True  # so it is not put back yet
        await world.driver.command(rollout, lambda at: Abort(at, "ann"))
        (caution,) = explained(now(), later).cautions
        assert caution.startswith(f"rollout {rollout} is withdrawn")


async def test_whom_a_document_is_set_aside_for_does_without_it(tmp_path: Path) -> None:
    async with a_mesh(tmp_path, NO_ENVOY) as mesh:
        one, _ = mesh.connect("web-0"), mesh.connect("web-1")

        def now() -> Standpoint:
            return Standpoint.now(mesh.pipeline.state, mesh.publisher, (), mesh.quarantine.told)

        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        assert not now().apart
        mesh.refuse(one)
        await mesh.settled()
        assert explained(now(), Key("default", "web-1")).cautions == ()
        assert explained(now(), Key("default", "web-0")).cautions == (
            "quarantine of EnvoyPatch default/patch: default/web-0 is given nothing in its place",
        )
