"""Clusters on demand while the control plane is away."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

from envoy.on_demand import TIMEOUT
from tests.support.mesh import Load
from tests.support.on_demand import TCP, on_demand_world
from tests.support.processes import eventually


async def test_what_it_has_works_the_rest_is_answered_in_time_and_found_again(tmp_path: Path) -> None:
    async with on_demand_world(tmp_path) as world:
        both = world.newest, world.oldest
        for web in both:
            assert (await world.called(web, "s0"))[0] == 200
        await world.stop_serving()
        answers = await asyncio.gather(*(world.called(web, "s30") for web in both))
        for status, said, seconds in answers:
            assert (status, TIMEOUT - 1 < seconds < TIMEOUT + 3) == (503, True), (status, said, seconds)
        async with Load(world.url(world.newest), "s0") as one, Load(world.url(world.oldest), "s0") as other:
            await world.mesh.serve()
            for web in both:
                await eventually(
                    functools.partial(world.answers, web, "s31", 200), "clusters are found again"
                )
                # It came back with the names that it had asked for, and was given no more.
                have = await world.clusters(web)
                assert {"default/s0:80", "default/s31:80", TCP} <= have
                assert len(have) < 10
            await one.more(20)
            await other.more(20)
        assert not one.failures + other.failures, one.failures + other.failures
