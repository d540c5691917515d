"""A slip in a side task ends neither the program nor the task; one in a vital task ends the program."""

from __future__ import annotations

import asyncio

import pytest

from meshwright.tasks import Tasks


async def test_one_that_may_is_started_again_and_told() -> None:
    broke: list[str] = []
    worked = asyncio.Event()

    async def work() -> None:
        if len(broke) < 2:
            raise ValueError("a slip")
        worked.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(30), Tasks(lambda: 0.0, broke.append) as tasks:
        tasks.start("side", work, restart=True)
        await worked.wait()
    assert broke == ["side", "side"]


async def test_another_ends_the_program_with_its_error() -> None:
    async def work() -> None:
        raise ValueError("a slip")

    async def program() -> None:
        async with Tasks(lambda: 0.0, lambda _: None) as tasks:
            tasks.start("vital", work)
            await asyncio.Event().wait()

    async with asyncio.timeout(30):
        with pytest.raises(ValueError, match="a slip"):
            await asyncio.create_task(program())
