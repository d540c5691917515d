"""The keeper of workloads' secrets, with an authority that takes its time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ca.authority import IssuedCertificate, LeafRequest, TrustBundle
from ca.builtin import BuiltinAuthority
from ca.errors import AuthorityError
from ca.issuer import SecretIssuer
from mesh.identity import Identity
from meshwright.keeper import SecretKeeper
from meshwright.metrics import Metrics
from tests.support.ca_builders import API, API_1, HandClock, an_authority, no_chance
from xds.cache import ResourceCache

DEADLINE = 10


class Slow:
    """An authority that signs, or refuses, when it is told to: what a network between does, for as long as the test needs."""

    def __init__(self, authority: BuiltinAuthority) -> None:
        self._authority = authority
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.refuses = False

    def roots(self) -> TrustBundle:
        return self._authority.roots()

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        self.asked.set()
        await self.go_on.wait()
        if self.refuses:
            raise AuthorityError("not now")
        return await self._authority.issue(request)


@dataclass
class Kept:
    keeper: SecretKeeper
    authority: Slow
    clock: HandClock

    async def renewing(self) -> None:
        """Until a renewal is under way."""
        self.authority.asked.clear()
        self.authority.go_on.clear()
        self.clock.move(timedelta(hours=13))
        self.keeper.hasten(0, timedelta)
        await self.authority.asked.wait()

    async def renewed(self) -> None:
        """Until the renewal is over. Nothing tells that one was dropped: the loop is given more turns than it takes."""
        self.authority.go_on.set()
        for _ in range(20):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def kept(directory: Path) -> AsyncIterator[Kept]:
    clock = HandClock()
    authority = Slow(an_authority(directory, clock))
    keeper = SecretKeeper(
        SecretIssuer(authority, clock, no_chance), ResourceCache(), Metrics(CollectorRegistry())
    )
    async with asyncio.timeout(DEADLINE):
        await keeper.give(API, API_1)
        running = asyncio.create_task(keeper.run())
        try:
            yield Kept(keeper, authority, clock)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("refuses", [False, True])
async def test_who_is_forgotten_during_a_renewal_stays_forgotten(tmp_path: Path, refuses: bool) -> None:
    async with kept(tmp_path) as here:
        await here.renewing()
        here.keeper.forget(API_1)
        here.authority.refuses = refuses
        await here.renewed()
        assert here.keeper.kept(API_1) is None
        assert here.keeper.first_expiry() is None
        assert len(here.keeper._schedule) == 0


async def test_a_renewal_does_not_put_an_identity_of_before_back(tmp_path: Path) -> None:
    other = Identity(API.trust_domain, API.namespace, "other")
    async with kept(tmp_path) as here:
        await here.renewing()
        here.keeper.forget(API_1)
        giving = asyncio.create_task(here.keeper.give(other, API_1))
        await here.renewed()
        await giving
        found = here.keeper.kept(API_1)
        assert found is not None
        assert found.identity == other


async def test_what_is_due_is_renewed(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        before = here.keeper.kept(API_1)
        await here.renewing()
        await here.renewed()
        after = here.keeper.kept(API_1)
        assert before is not None
        assert after is not None
        assert after.serial != before.serial
