"""Watching the head: what ends the poll reaches all that wait."""

from __future__ import annotations

import asyncio

import pytest

from store.backend import NOTHING, Head
from store.consul_watch import HeadWatch


async def test_an_error_that_nobody_foresaw_wakes_whoever_waits() -> None:
    broken = asyncio.Event()

    async def poll(_: int) -> int:
        await broken.wait()
        raise ValueError("an answer that is none")

    async def read() -> Head:
        return NOTHING

    watch = HeadWatch(poll, read)
    waiting = [asyncio.ensure_future(anext(watch.heads(NOTHING))) for _ in range(2)]
    await asyncio.sleep(0)
    broken.set()
    async with asyncio.timeout(30):
        for each in waiting:
            with pytest.raises(ValueError, match="none"):
                await each
    await watch.close()
