"""The shell of root rotation: many leaves, and a disk that is full. What a rotation does: tests/feature/test_root_rotation.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ca.from_files import FilesAuthority
from ca.issuer import SecretIssuer
from ca.ledger_file import SNAPSHOT, LedgerFile
from ca.outside import OutsideAuthority
from ca.rotation import Holder, Leaf, RotatingAuthority
from ca.server_tls import ServerCertificate, ServerNames
from ca.times import system_clock
from meshwright.keeper import SecretKeeper
from meshwright.metrics import Metrics
from meshwright.rotation import AT_ONCE, Rotator
from tests.support.ca_builders import TRUST_DOMAIN, an_authority
from tests.support.corporate import Corporate
from xds.cache import ResourceCache

DEADLINE = 20


@dataclass
class Here:
    rotator: Rotator
    ledger: LedgerFile

    def issue(self, proxies: int) -> None:
        """To proxies that are away."""
        ends = system_clock() + timedelta(hours=1)
        for number in range(proxies):
            for holder in (Holder.AGENT, Holder.ENVOY):
                workload = f"default/w-{number}"
                serial = 2 * number + (holder is Holder.ENVOY)
                self.ledger.ledger.issued(Leaf(serial, holder, workload, f"{holder}/{number}", 1, ends))


@contextlib.asynccontextmanager
async def rotating(directory: Path, other: RotatingAuthority | None = None) -> AsyncIterator[Here]:
    authority = other or an_authority(directory)
    ledger = LedgerFile.open(directory / "ca", created=True, unrecorded_until=system_clock())
    metrics = Metrics(CollectorRegistry())
    certificate = ServerCertificate(authority, ServerNames.parse(()), system_clock, random.random)
    await certificate.renew()
    rotator = Rotator(
        authority,
        ledger,
        SecretKeeper(SecretIssuer(authority, system_clock, random.random), ResourceCache(), metrics),
        certificate,
        streams_of=lambda _: (),
        served=lambda _: True,
        clock=system_clock,
        monotonic=time.monotonic,
        chance=random.random,
        registry=metrics.registry,
        stale=lambda _: None,
    )
    async with asyncio.timeout(DEADLINE):
        try:
            yield Here(rotator, ledger)
        finally:
            ledger.close()


@pytest.mark.parametrize("kept", ["here", "elsewhere"])
async def test_a_root_that_ends_soon_is_told_with_what_its_authority_has_for_it(
    tmp_path: Path, kept: str
) -> None:
    """Corporate roots last 30 days; the built-in one ten years."""
    async with contextlib.AsyncExitStack() as stack:
        outside = None
        if kept == "elsewhere":
            folder = tmp_path / "ca"
            folder.mkdir()
            where = Corporate().write(tmp_path)
            made = FilesAuthority.open(where, TRUST_DOMAIN, system_clock)
            outside = OutsideAuthority(made, tmp_path, system_clock)
        here = await stack.enter_async_context(rotating(tmp_path, outside))
        days = 29 if outside else 3600
        (warning,) = here.rotator._told.warnings(system_clock() + timedelta(days=days))
        assert ("`meshwright ca rotate`" in warning) is (outside is None)
        assert ("changed where it is kept" in warning) is (outside is not None)


async def test_others_have_their_turn_while_many_leaves_are_looked_at(tmp_path: Path) -> None:
    async with rotating(tmp_path) as here:
        here.issue(proxies=1000)
        await here.rotator.rotate(root=True, by_hand=False)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        assert len(await here.rotator._lags()) == 2000
        assert turns >= 2000 // AT_ONCE - 1
        running.cancel()


async def test_that_nobody_lags_is_true_of_one_moment(tmp_path: Path) -> None:
    """A leaf of somebody who lags is issued when all others have been looked at."""
    async with rotating(tmp_path) as here:
        await here.rotator.rotate(root=True, by_hand=False)
        bundle = here.rotator._authority.rotation.bundle
        here.issue(proxies=AT_ONCE)
        for leaf in here.ledger.ledger.leaves():
            here.ledger.ledger.acknowledged(leaf.family, frozenset(bundle), bundle)
        assert await here.rotator._lags() == []
        looking = asyncio.create_task(here.rotator._lags())
        await asyncio.sleep(0)
        late = Leaf(10**6, Holder.AGENT, "default/late", "late", 1, system_clock() + timedelta(hours=1))
        here.ledger.ledger.issued(late)
        assert [lag.leaf for lag in await looking] == [late]


async def test_a_disk_that_is_full_at_the_start_ends_nothing(tmp_path: Path) -> None:
    """What is in the way of the snapshot stands for it."""
    async with rotating(tmp_path) as here:
        in_the_way = tmp_path / "ca" / f".{SNAPSHOT}.{os.getpid()}.tmp"
        in_the_way.mkdir()
        tried = asyncio.Event()
        rewrite = here.ledger.rewrite

        async def rewriting() -> None:
            try:
                await rewrite()
            finally:
                tried.set()

        here.ledger.rewrite = rewriting  # type: ignore[method-assign]
        running = asyncio.create_task(here.rotator.run())
        await tried.wait()
        in_the_way.rmdir()
        while here.ledger.grown:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.01)
        assert (tmp_path / "ca" / SNAPSHOT).exists()
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
