"""Housekeeping that fails halfway is done again at the next look."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Set as AbstractSet
from datetime import timedelta
from pathlib import Path

from meshwright.stores import TIDIED, keep_house
from store.errors import StoreUnavailable
from store.repository import Repository
from store.sqlite import SqliteBackend


class _FailsOnce(SqliteBackend):
    """The first sweep finds the store away: the real one cannot be made to fail in just that moment."""

    sweeps = 0

    async def sweep(self, keep: AbstractSet[str], older: float) -> int:
        self.sweeps += 1
        if self.sweeps == 1:
            raise StoreUnavailable("the store is away")
        return await super().sweep(keep, older)


async def test_what_failed_is_not_noted_as_done(tmp_path: Path) -> None:
    backend = await _FailsOnce.open(tmp_path / "store.db")
    keeping = asyncio.create_task(keep_house(Repository(backend), None, timedelta(milliseconds=5)))
    async with asyncio.timeout(30):
        while not await backend.published(TIDIED):  # noqa: ASYNC110 - it is looked at, not told
            await asyncio.sleep(0.01)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    assert backend.sweeps == 2
    await backend.close()
