"""A mesh on real Consul: what registers gets traffic, what leaves gets none, and nothing fails on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.consul_agent import ConsulAgent, consul_agent
from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually


@pytest.fixture
async def consul(tmp_path: Path) -> AsyncIterator[ConsulAgent]:
    async with consul_agent(tmp_path) as agent:
        yield agent


@pytest.fixture
async def consul_mesh(tmp_path: Path, consul: ConsulAgent) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path, consul_url=consul.url, files=False) as mesh:
        yield mesh


async def register(consul: ConsulAgent, *instances: Instance) -> None:
    for each in instances:
        await consul.register(each.consul_service())


async def up(mesh: Mesh, consul: ConsulAgent, *instances: Instance) -> None:
    await register(consul, *instances)
    await mesh.serve()
    await mesh.up(*instances)


async def test_registered_deregistered_and_critical(consul_mesh: Mesh, consul: ConsulAgent) -> None:
    web = Instance("web", "web-1", uses=("api",))
    first, second = Instance("api", "api-1"), Instance("api", "api-2")
    await up(consul_mesh, consul, web, first)

    async def only(*expected: Instance) -> bool:
        return await consul_mesh.endpoints(web, "default/api:80") == {
            f"127.0.0.1:{e.sidecar_port}" for e in expected
        }

    await eventually(lambda: only(first), "api-1 is the only endpoint")
    await register(consul, second)
    await consul_mesh.up(second)
    await eventually(lambda: only(first, second), "api-2 joined")

    async def answers(*expected: str) -> bool:
        seen = set()
        for _ in range(20):
            status, body = await consul_mesh.call(web, "api.mesh")
            assert status == 200
            seen.add(body["instance"])
        return seen == set(expected)

    await eventually(lambda: answers("api-1", "api-2"), "both get traffic")
    await consul.set_check("api-2", "critical")
    await eventually(lambda: only(first), "the critical one is out")
    assert await answers("api-1")
    await consul.set_check("api-2", "passing")
    await eventually(lambda: only(first, second), "it is back")
    await consul.deregister("api-2")
    await eventually(lambda: only(first), "the deregistered one is out")
    assert await answers("api-1")


async def test_from_consul_to_envoy_in_100_ms(consul_mesh: Mesh, consul: ConsulAgent) -> None:
    """100 changes; the 99th percentile from Consul's answer to what Envoy sends to."""
    web, api = Instance("web", "web-1", uses=("api",)), Instance("api", "api-1")
    await up(consul_mesh, consul, web, api)
    steady = f"127.0.0.1:{api.sidecar_port}"

    async def there() -> bool:
        return steady in await consul_mesh.endpoints(web, "default/api:80")

    await eventually(there, "api-1 is there")
    delays = []
    for number in range(50):
        extra = Instance("api", "api-extra", sidecar_port=20000 + number)
        address = f"127.0.0.1:{extra.sidecar_port}"
        for change, expected in (
            (consul.register(extra.consul_service()), True),
            (consul.deregister(extra.name), False),
        ):
            watched = asyncio.create_task(consul.answer_that_changes("api"))
            await watched_is_waiting(watched)
            await change
            answered = await watched

            async def seen(expected: bool = expected, address: str = address) -> bool:
                return (address in await consul_mesh.endpoints(web, "default/api:80")) is expected

            await eventually(seen, f"{address} {'comes' if expected else 'goes'}", every=0.002)
            delays.append(time.monotonic() - answered)
    delays.sort()
    print(f"from Consul's answer to Envoy: median {delays[50] * 1000:.1f} ms, p99 {delays[98] * 1000:.1f} ms")
    assert delays[98] < 0.1


async def watched_is_waiting(task: asyncio.Task[float]) -> None:
    """Let the long poll reach Consul before the change is made."""
    await asyncio.wait({task}, timeout=0.02)


async def test_rolling_replacement_under_load_fails_no_request(
    consul_mesh: Mesh, consul: ConsulAgent
) -> None:
    web = Instance("web", "web-1", uses=("api",))
    old = [Instance("api", f"api-{number}") for number in range(3)]
    await up(consul_mesh, consul, web, *old)

    async def passes() -> bool:
        return (await consul_mesh.call(web, "api.mesh"))[0] == 200

    await eventually(passes, "a request passes")
    async with Load(f"http://127.0.0.1:{web.outbound_port}/", "api.mesh") as load:
        for number, leaving in enumerate(old):
            coming = Instance("api", f"api-new-{number}")
            await register(consul, coming)
            await consul_mesh.up(coming)
            await load.more(30)
            await consul.deregister(leaving.name)

            async def gone(leaving: Instance = leaving) -> bool:
                return f"127.0.0.1:{leaving.sidecar_port}" not in await consul_mesh.endpoints(
                    web, "default/api:80"
                )

            await eventually(gone, f"{leaving.name} gets no more traffic")
            assert leaving.sidecar is not None
            assert leaving.app is not None
            await leaving.sidecar.stop()  # drains
            await leaving.app.stop()
            await load.more(30)
        served = set(load.by_instance)
    assert load.failures == []
    assert {f"api-new-{number}" for number in range(3)} <= served
