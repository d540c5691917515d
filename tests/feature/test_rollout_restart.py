"""A control plane that is killed in the middle of a rollout goes on with it: nobody is given what is not theirs yet, and it ends as it should."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh import Instance
from tests.support.processes import eventually
from tests.support.rollouts import Shop, a_policy_of_api


async def killed_and_back(shop: Shop) -> None:
    assert shop.mesh.server is not None
    await shop.mesh.server.kill()
    await shop.mesh.serve()


async def timeouts(shop: Shop, caller: Instance) -> set[str]:
    """Of its routes to api, as its Envoy has them."""
    dump = await shop.mesh.envoy(caller, "/config_dump?resource=dynamic_route_configs")
    routes = (
        route
        for config in dump.get("configs", ())
        for host in config["route_config"].get("virtual_hosts", ())
        if config["route_config"]["name"] == "default/api"
        for route in host["routes"]
    )
    return {str(route.get("route", {}).get("timeout")) for route in routes}


async def test_killed_in_the_middle(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with shop.mesh:
        await shop.up()
        old = await timeouts(shop, shop.others[0])
        await shop.write(a_policy_of_api("TimeoutPolicy", request="7s"), stage="50%,100%", bake="2s")
        name = (await shop.newest(0))["id"]
        await shop.becomes(name, phase="baking", having=1)
        await killed_and_back(shop)
        found = await shop.rollout(name)
        assert (found["stage"], found["holding"]) == (1, True)
        assert await timeouts(shop, shop.others[0]) == old
        assert (await shop.over(name))["phase"] == "completed"

        async def everywhere() -> bool:
            return all([await timeouts(shop, each) == {"7s"} for each in shop.webs])

        await eventually(everywhere, "everybody has it")


@pytest.mark.heavy
async def test_killed_at_each_stage_and_while_it_is_withdrawn(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    async with shop.mesh:
        await shop.up()
        old = [await timeouts(shop, each) for each in shop.webs]
        await shop.write(a_policy_of_api("TimeoutPolicy", request="7s"), stage="50%,100%", bake="1h")
        name = (await shop.newest(0))["id"]
        await shop.becomes(name, phase="baking", having=1)
        for stage in (1, 2):
            await killed_and_back(shop)
            assert (await shop.rollout(name))["stage"] == stage
            await shop.becomes(name, having=stage, proxies=2, phase="baking")
            now = [await timeouts(shop, each) for each in shop.webs]
            assert now[:stage] == [{"7s"}] * stage
            assert now[stage:] == old[stage:], "beyond its stage nobody has it"
            assert any("started again" in each["words"] for each in (await shop.rollout(name))["told"])
            promoted = await shop.call("POST", f"/api/v1/rollouts/{name}/promote", {})
            assert promoted.status == 200
        await shop.becomes(name, phase="completed")
        # Another one, right after it was written, before anybody has seen it.
        await shop.write(a_policy_of_api("TimeoutPolicy", request="9s"), stage="50%,100%", bake="1h")
        await killed_and_back(shop)
        name = (await shop.newest(1))["id"]
        await shop.becomes(name, phase="baking", having=1, proxies=2)
        assert await timeouts(shop, shop.others[0]) == {"7s"}
        # And once more while it is withdrawn.
        assert await timeouts(shop, shop.first) == {"9s"}
        await asyncio.gather(aborted(shop, name), killed_and_back(shop), return_exceptions=True)
        if (await shop.rollout(name))["phase"] != "withdrawn":  # it was killed before it heard of it
            await aborted(shop, name)
        await shop.becomes(name, phase="withdrawn", holding=False)

        async def as_before() -> bool:
            return await timeouts(shop, shop.first) == {"7s"}

        await eventually(as_before, "its proxy has what was before")


async def aborted(shop: Shop, name: str) -> Any:
    return (await shop.call("POST", f"/api/v1/rollouts/{name}/abort", {"reason": "no"})).json
