"""A proxy that is told to end: its callers hear of it first, so that no request is lost, though no registry says that it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.processes import eventually
from tests.support.traffic.world import Traffic, World

URL = "http://store.mesh/"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def leaving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traffic]:
    """A mesh of its own, with a time to drain that is longer than it takes callers to hear."""
    folder = tmp_path_factory.mktemp("leaving")
    async with World(folder, only=("web-1", "store-1", "store-2"), drain_time=5) as world:
        yield Traffic(world)


async def called(traffic: Traffic) -> int:
    """How many endpoints the caller's Envoy has of the store."""
    found = await traffic.envoy("web-1").clusters()
    return len(found["default/store:80"]["host_statuses"])


async def test_no_request_is_lost_when_sidecars_end_and_come_again(leaving: Traffic) -> None:
    """Under load of many connections, of which some are idle when their sidecar ends: the moment for which nobody is told anything."""
    async with leaving.load(URL, rate=200) as load:
        await load.more(50)
        for name in ("store-1", "store-2", "store-1"):
            sidecar = leaving.envoy(name)
            await sidecar.end()
            assert await called(leaving) == 1
            await load.more(50)
            await sidecar.start()
            await sidecar.ready()

            async def used(name: str = name) -> bool:
                return name in {each.json["workload"] for each in await leaving.many(10, URL)}

            await eventually(used, f"{name} is used again")
    assert load.report.failures == []
    assert load.report.errors == 0


async def test_a_proxy_ends_also_when_nobody_is_there_to_tell(leaving: Traffic) -> None:
    sidecar = leaving.envoy("store-2")
    assert leaving.mesh.server is not None
    await leaving.mesh.server.kill()
    try:
        await sidecar.end()
        assert "callers are not told that this proxy ends" in sidecar.agent_log.read_text()
    finally:
        await leaving.mesh.serve()
        await sidecar.start()
        await sidecar.ready()
