"""Staged rollouts, on a real mesh under load: what does badly goes back by itself at the first stage, what does well gets everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from mesh.names import Key
from mesh.rollout import point
from tests.support.mesh import Instance, Load, a_document
from tests.support.poisons import poisons
from tests.support.processes import eventually
from tests.support.rollouts import Shop, a_policy_of_api, a_route
from tests.support.terminal import through_pipe

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("rollout"))
    async with made.mesh:
        await made.up()
        yield made


@contextlib.asynccontextmanager
async def under_load(shop: Shop) -> AsyncIterator[dict[str, Load]]:
    """By caller. Every one of them has been answered before the block begins."""
    loads = {each.name: shop.load(each) for each in shop.webs}
    async with contextlib.AsyncExitStack() as stack:
        for each in loads.values():
            await stack.enter_async_context(each)
        for each in loads.values():
            await each.more(3)
        yield loads


async def told(shop: Shop, name: str) -> dict[str, Any] | None:
    found = await shop.rollout(name)
    return found if found["undone"] else None


def unharmed(loads: dict[str, Load], *callers: Instance) -> None:
    for each in callers:
        assert loads[each.name].answered
        assert not loads[each.name].failures, (each.name, loads[each.name].failures[:3])


async def test_a_change_that_fails_is_withdrawn_at_the_first_stage_and_others_never_see_it(
    shop: Shop,
) -> None:
    """By a policy, of documents in files: where it cannot be put back, it is in force nowhere all the same."""
    policy = {
        "targetRefs": [{"kind": "Mesh"}],
        "kinds": ["HTTPRoute"],
        "stages": [{"percent": 30}, {"percent": 100}],
        "bake": "20s",
    }
    shop.mesh.write("carefully.yaml", a_document("RolloutPolicy", "carefully", policy))
    shop.mesh.write("route.yaml", a_route("api"))
    known = len(await shop.rollouts())
    first = await shop.newest(known)  # that there is a route at all: nothing changes by it
    await shop.call("POST", f"/api/v1/rollouts/{first['id']}/promote", {})
    await shop.call("POST", f"/api/v1/rollouts/{first['id']}/promote", {})
    assert (await shop.over(first["id"]))["phase"] == "completed"
    async with under_load(shop) as loads:
        before = [await shop.reloads(each) for each in shop.others]
        shop.mesh.write("route.yaml", a_route("dead"))
        begun = await shop.newest(known + 1)
        assert (begun["having"], begun["proxies"]) in {(0, 0), (1, 2)}
        found = await shop.over(begun["id"])
        assert found["phase"] == "withdrawn"
        assert found["stage"] == 1
        assert "failed with the change, of" in found["reason"]
        assert "503 no healthy upstream" in found["reason"]
        assert loads[shop.first.name].failures
        failed = len(loads[shop.first.name].failures)
        await loads[shop.first.name].more(20)

        async def well_again() -> bool:
            nonlocal failed
            last, failed = failed, len(loads[shop.first.name].failures)
            await loads[shop.first.name].more(20)
            return len(loads[shop.first.name].failures) == last

        await eventually(well_again, "the first caller is answered again")
        unharmed(loads, *shop.others)
        assert [await shop.reloads(each) for each in shop.others] == before
    held = await eventually(lambda: told(shop, begun["id"]), "it is said what becomes of the file")
    assert held["holding"]
    assert "cannot be put back from here" in held["undone"]
    problems = (await shop.mesh.status()).problems
    assert f"(rollout {begun['id']})" in problems["HTTPRoute default/api"]
    # What the file says next is another change; what it said before ends this one.
    shop.mesh.write("route.yaml", a_route("api"))
    await shop.becomes(begun["id"], holding=False)
    shop.mesh.write("carefully.yaml")
    shop.mesh.write("route.yaml")


async def test_a_good_change_gets_everywhere_by_its_stages(shop: Shop) -> None:
    known = len(await shop.rollouts())
    async with under_load(shop) as loads:
        await shop.write(
            a_policy_of_api("RetryPolicy", attempts=2, on=["5xx"]), stage="30%,100%", bake="500ms"
        )
        begun = await shop.newest(known)
        assert begun["documents"] == ["RetryPolicy default/api"]
        found = await shop.over(begun["id"])
        assert found["phase"] == "completed", found["reason"]
        assert not found["holding"]
        said = [each["words"] for each in found["told"]]
        assert "stage 1 of 2 (30%): 1 of 2 proxies concerned have it" in said
        assert "stage 2 of 2 (100%): 2 of 2 proxies concerned have it" in said
        unharmed(loads, *shop.webs)
    await shop.write(delete=["RetryPolicy"])


async def test_latency_withdraws_a_change_and_the_store_has_what_was_before(shop: Shop) -> None:
    known = len(await shop.rollouts())
    async with under_load(shop) as loads:
        slow = a_policy_of_api("FaultInjection", delay={"fixed": "150ms"})
        revision = await shop.write(slow, stage="30%,100%", bake="20s")
        begun = await shop.newest(known)
        found = await shop.over(begun["id"])
        assert found["phase"] == "withdrawn"
        assert "p99 is " in found["reason"]
        assert "at most 2 times that is allowed" in found["reason"]
        unharmed(loads, *shop.webs)
        found = await shop.becomes(begun["id"], holding=False)
        assert found["undone"] == f"revision {revision + 1} puts back FaultInjection default/api"
    assert (await shop.call("GET", "/api/v1/documents/FaultInjection/default/api")).status == 404


async def test_a_refusal_withdraws_a_change(shop: Shop) -> None:
    known = len(await shop.rollouts())
    poison = next(each for each in poisons(shop.api) if each.resource.startswith("Route"))
    # It concerns api's own sidecar, too: of three proxies, one is in the stage.
    everybody = sorted([*shop.webs, shop.api], key=lambda each: point(Key("default", each.name)))
    others = [each for each in everybody[1:] if each is not shop.api]
    before = [await shop.reloads(each) for each in others]
    await shop.write(poison.document(poison.bad), stage="30%,100%", bake="20s")
    begun = await shop.newest(known)
    found = await shop.over(begun["id"])
    assert found["phase"] == "withdrawn"
    assert any(f"default/{each.name} refused it: " in found["reason"] for each in everybody[:1])
    assert poison.says in found["reason"]
    undone = await shop.becomes(begun["id"], holding=False)
    assert "puts back EnvoyPatch default/poison" in undone["undone"]
    assert [await shop.reloads(each) for each in others] == before


async def test_without_traffic_it_goes_on_and_says_so(shop: Shop) -> None:
    known = len(await shop.rollouts())
    await shop.write(a_policy_of_api("TimeoutPolicy", request="5s"), stage="30%,100%", bake="200ms")
    found = await shop.over((await shop.newest(known))["id"])
    assert found["phase"] == "completed"
    said = [each["words"] for each in found["told"]]
    assert any("went on without having been judged: 0 requests with the change" in each for each in said), (
        said
    )
    await shop.write(delete=["TimeoutPolicy"])


async def test_pause_promote_abort(shop: Shop) -> None:
    known = len(await shop.rollouts())
    revision = await shop.write(
        a_policy_of_api("TimeoutPolicy", request="7s"), stage="30%,60%,100%", bake="1h"
    )
    begun = await shop.newest(known)
    name = begun["id"]
    await shop.becomes(name, phase="baking")
    document = await shop.call("GET", "/api/v1/documents/TimeoutPolicy/default/api")
    assert f"{name}: baking at stage 1 of 3 (30%)" in document.json["status"]["rollout"]
    paused = await shop.call("POST", f"/api/v1/rollouts/{name}/pause", {})
    assert paused.json["paused"]
    assert (await shop.call("POST", f"/api/v1/rollouts/{name}/resume", {})).json["paused"] is False
    promoted = await shop.call("POST", f"/api/v1/rollouts/{name}/promote", {})
    assert promoted.json["stage"] == 2
    assert promoted.json["having"] == 2
    aborted = await shop.call("POST", f"/api/v1/rollouts/{name}/abort", {"reason": "wrong ticket"})
    assert aborted.json["phase"] == "withdrawn"
    assert aborted.json["reason"].endswith("wrong ticket")
    assert (await shop.call("POST", f"/api/v1/rollouts/{name}/abort", {})).status == 409
    assert (await shop.call("POST", "/api/v1/rollouts/00000000/abort", {})).status == 404
    undone = await shop.becomes(name, holding=False)
    assert undone["undone"] == f"revision {revision + 1} puts back TimeoutPolicy default/api"


async def test_by_the_command_line(shop: Shop, tmp_path: Path) -> None:
    async def command(*arguments: str, code: int = 0) -> str:
        """What it says on both outputs."""
        where = ("--data-dir", str(shop.mesh.data))
        ran = await asyncio.to_thread(through_pipe, *arguments, *where, env=dict(os.environ))
        assert ran.code == code, ran
        return ran.out + ran.err

    file = tmp_path / "timeout.yaml"
    file.write_text(yaml.safe_dump(a_policy_of_api("TimeoutPolicy", request="8s")))
    known = len(await shop.rollouts())
    await command("apply", "-f", str(file), "--stage", "30%,100%", "--bake", "1h")
    name = (await shop.newest(known))["id"]
    await shop.becomes(name, phase="baking")
    (row,) = [line for line in (await command("rollout", "list")).splitlines() if line.startswith(name)]
    assert row.split()[1:5] == ["1/2", "30%", "baking", "1/2"]
    said = await command("rollout", "pause", name)
    assert f"rollout {name}: baking, paused" in said
    assert "  stages   [30%], 100%" in said
    assert "  proxies  1 of 2 have it" in said
    assert json.loads(await command("rollout", "status", name, "-o", "json"))["paused"] is True
    assert "withdrawn at stage 1 of 2 (30%): aborted by" in await command("rollout", "abort", name)
    await command("rollout", "status", name, "--wait", code=1)
    assert "is over: withdrawn" in await command("rollout", "promote", name, code=3)
    assert "there is no rollout" in await command("rollout", "status", "00000000", code=4)
    await shop.becomes(name, holding=False)


async def test_stages_that_are_none_are_refused(shop: Shop) -> None:
    for stage, bake, document, reason in (
        ("50%,5%", "1s", a_route("api"), "larger than the one before"),
        ("a few", "1s", a_route("api"), "write shares"),
        ("5%", "soon", a_route("api"), "is not a duration"),
        ("5%", "1s", a_document("Service", "other", {"ports": []}), "cannot reach some proxies first"),
    ):
        body = {"documents": [document], "stage": stage, "bake": bake}
        answer = await shop.call("POST", "/api/v1/batch", body)
        assert answer.status == 422, answer
        assert reason in answer.text
