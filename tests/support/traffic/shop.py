"""A shop: `web` calls `api`, whose three sidecars share limits that are counted in a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.support.mesh import Mesh
from tests.support.processes import eventually
from tests.support.redis_server import RedisServer, redis_server
from tests.support.traffic.draining import DRAINING
from tests.support.traffic.world import World

MARKER = "x-ratelimit-limit"
APIS = ("api-1", "api-2", "api-3")


@dataclass(frozen=True, slots=True)
class Shop:
    world: World
    redis: RedisServer
    session: aiohttp.ClientSession

    @property
    def mesh(self) -> Mesh:
        return self.world.mesh

    def limit(self, requests: int, unit: str = "second", **more: str) -> None:
        """Put a limit of `api` into force. `timeout` is long here: two cores are shared by all of this."""
        said = {"requests": requests, "unit": unit, "timeout": "2s", **more}
        spec = {"targetRefs": [{"kind": "Service", "name": "api"}], "global": said}
        document = {"kind": "RateLimit", "metadata": {"name": "api"}, "spec": spec}
        self.mesh.write("limit.yaml", {"apiVersion": "meshwright.dev/v1alpha1", **document})

    async def ask(self) -> tuple[int, float, str]:
        """The status, the seconds it took, and the limit that the answer tells of."""
        began = time.perf_counter()
        url = f"http://127.0.0.1:{self.world.members['web-1'].outbound_port}/"
        async with self.session.get(url, headers={"host": "api.mesh"}) as answer:
            await answer.read()
            return answer.status, time.perf_counter() - began, answer.headers.get(MARKER, "")

    async def in_force(self, limit: int) -> None:
        """On every connection: those with the filters of before have ended, so that none is closed amid what follows."""

        async def told() -> bool:
            answers = [await self.ask() for _ in range(9)]
            return all(said.startswith(f"{limit},") for _, _, said in answers) and not await self.draining()

        await eventually(told, "all sidecars know the limit")

    async def draining(self) -> int:
        """Filter chains that the sidecars of `api` are taking leave of."""
        stats = [await self.world.sidecars[each].stats(DRAINING) for each in APIS]
        return sum(value for each in stats for value in each.values())

    async def many(self, n: int) -> tuple[Counter[int], float]:
        """Statuses, and the longest time in seconds."""
        answers = await asyncio.gather(*(self.ask() for _ in range(n)))
        return Counter(status for status, _, _ in answers), max(seconds for _, seconds, _ in answers)


@contextlib.asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[Shop]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        redis_server(folder) as redis,
        World(folder, only=("web-1", *APIS), ratelimit_redis=redis.url) as world,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=24)) as session,
    ):
        shop = Shop(world, redis, session)

        async def answered() -> bool:
            return (await shop.ask())[0] == 200

        await eventually(answered, "api answers")
        yield shop
