"""What the holder of a lease does alone, without a server: it begins, ends and is cancelled with the lease and with the program."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from kube.access import ClusterOptions
from kube.client import Cluster
from kube.lease import Lease

PATIENCE = 30.0


def a_lease() -> Lease:
    return Lease(
        Cluster(ClusterOptions(kubeconfig="/nowhere"), clock=time.monotonic),
        "leader",
        "x",
        "me",
        clock=time.monotonic,
        wall=lambda: datetime.now(UTC),
        random=random.random,
    )


class Work:
    """Runs until it is cancelled, and takes its time to end."""

    def __init__(self) -> None:
        self.begun, self.ending, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.problem: Exception | None = None

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            await self.may_end.wait()
            if self.problem is not None:
                raise self.problem


@contextlib.asynccontextmanager
async def working(lease: Lease, work: Work) -> AsyncIterator[asyncio.Task[None]]:
    """With `work` begun."""
    task = asyncio.create_task(lease.alone(work))
    try:
        lease._begin()
        await asyncio.wait_for(work.begun.wait(), PATIENCE)
        yield task
    finally:
        work.may_end.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_work_ends_with_the_lease_and_begins_anew_with_the_next() -> None:
    lease, work = a_lease(), Work()
    async with working(lease, work) as task:
        work.begun.clear()
        lease._stop()
        work.may_end.set()
        await asyncio.wait_for(work.ending.wait(), PATIENCE)
        assert not task.done()
        lease._begin()
        await asyncio.wait_for(work.begun.wait(), PATIENCE)


async def test_a_cancel_that_comes_while_work_ends_is_not_swallowed() -> None:
    """It comes once: who swallows it keeps the program from ending."""
    lease, work = a_lease(), Work()
    async with working(lease, work) as task:
        lease._stop()
        await asyncio.wait_for(work.ending.wait(), PATIENCE)
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
        assert task.cancelled()


async def test_what_work_raises_while_it_ends_is_told() -> None:
    lease, work = a_lease(), Work()
    work.problem = ValueError("cannot end")
    async with working(lease, work) as task:
        lease._stop()
        work.may_end.set()
        with pytest.raises(ValueError, match="cannot end"):
            await asyncio.wait_for(task, PATIENCE)


async def test_work_that_ends_by_itself_ends_it() -> None:
    lease = a_lease()

    async def nothing() -> None:
        pass

    lease._begin()
    await asyncio.wait_for(lease.alone(nothing), PATIENCE)
