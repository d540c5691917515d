from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from agent.departure import Departure


class Callers:
    """Who has to hear before the proxy may end."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.leaves = 0
        self.ended = False

    @contextlib.asynccontextmanager
    async def leave(self) -> AsyncIterator[None]:
        self.leaves += 1
        await self.heard.wait()
        yield
        self.ended = True


async def test_whoever_asks_waits_until_callers_have_heard_and_it_is_left_once() -> None:
    departure, callers = Departure(), Callers()
    running = asyncio.create_task(departure.run(callers.leave))
    await asyncio.sleep(0)
    hook = asyncio.create_task(departure.left(30))
    asked = asyncio.create_task(departure.leave())
    await asyncio.wait({hook, asked}, timeout=0.05)
    assert not hook.done()
    assert not asked.done()
    callers.heard.set()
    assert await hook
    await asked
    async with departure.leaving():
        assert not callers.ended
    await running
    assert (callers.leaves, callers.ended) == (1, True)


async def test_who_does_not_decide_it_waits_no_longer_than_it_takes_to_ask() -> None:
    departure, callers = Departure(), Callers()
    running = asyncio.create_task(departure.run(callers.leave))
    assert not await departure.left(0.01)
    assert callers.leaves == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_proxy_that_nobody_knows_of_leaves_at_once() -> None:
    departure = Departure()
    async with asyncio.timeout(30):
        await departure.leave()
        assert await departure.left(0)
        async with departure.leaving():
            pass
