"""A limit that the mesh shares, while nobody can count: Redis hangs, Redis is gone, the control plane is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.traffic.shop import Shop, open_shop


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("limits")) as made:
        yield made


@pytest.mark.parametrize(("failure", "status"), [("allow", 200), ("deny", 429)])
async def test_redis_stops_and_comes_back(shop: Shop, failure: str, status: int) -> None:
    limit = {"allow": 50_000, "deny": 60_000}[failure]
    shop.limit(limit, "hour", failure=failure, timeout="200ms")
    await shop.in_force(limit)
    shop.redis.freeze()
    try:
        statuses, longest = await shop.many(60)
        print(f"\nfrozen: {dict(statuses)}, longest {longest:.3f} s", end="")
        assert statuses == {status: 60}
        assert longest < 2
    finally:
        await shop.redis.kill()
    statuses, longest = await shop.many(60)
    print(f"\ngone: {dict(statuses)}, longest {longest:.3f} s")
    assert statuses == {status: 60}
    assert longest < 2
    await shop.redis.start()
    await shop.in_force(limit)


async def test_the_control_plane_ends(shop: Shop) -> None:
    """Last: who counts is away altogether, and proxies do what their filter says."""
    shop.limit(70_000, "hour", failure="deny", timeout="100ms")
    await shop.in_force(70_000)
    assert shop.mesh.server is not None
    await shop.mesh.server.kill()
    statuses, longest = await shop.many(30)
    assert statuses == {429: 30}
    assert longest < 2
    await shop.mesh.serve()
    await shop.in_force(70_000)
