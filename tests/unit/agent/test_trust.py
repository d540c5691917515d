"""Following the trust bundle, against a real trust service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from agent.identity_store import IdentityStore
from agent.renew import CertificateKeeper, Membership, TokenSource
from agent.trust import InUse, TrustWatch, at_once
from ca.ledger import Ledger
from ca.rotation import abort, advance, begin
from ca.times import system_clock
from ca.trust import TrustService
from pb.meshwright.trust.v1.trust_pb2_grpc import add_TrustServiceServicer_to_server
from tests.support.ca_builders import API_1, TRUST_DOMAIN, JoinServer, a_join_server, an_authority, no_chance
from tests.support.ca_logs import Recorded

DEADLINE = 20


@contextlib.asynccontextmanager
async def served(
    directory: Path,
    haste: dict[str, float] | None = None,
    ports: tuple[int, int] = (0, 0),
    ledger: Ledger | None = None,
) -> AsyncIterator[tuple[JoinServer, TrustService]]:
    authority = an_authority(directory)
    trust = TrustService(
        authority,
        Ledger() if ledger is None else ledger,
        clock=system_clock,
        hasten=lambda leaf: (haste or {}).pop(leaf.workload, None),
        stale=lambda _: None,
    )
    async with a_join_server(
        directory,
        authority=authority,
        ports=ports,
        also=lambda server: add_TrustServiceServicer_to_server(trust, server),
    ) as server:
        yield server, trust
        trust.close()


@contextlib.asynccontextmanager
async def an_agent(
    server: JoinServer, directory: Path, bundle: Path | None = None, in_use: InUse = at_once
) -> AsyncIterator[tuple[CertificateKeeper, Recorded]]:
    token = server.tokens.create("default", "api", now=system_clock(), workload=None, uses=2)
    membership = Membership(
        workload=API_1,
        trust_domain=TRUST_DOMAIN,
        join_address=server.join_address,
        renew_address=server.renew_address,
        bundle=bundle or server.bundle,
        tokens=TokenSource(token),
    )
    log = Recorded()
    keeper = CertificateKeeper(
        membership, IdentityStore(directory), clock=system_clock, chance=no_chance, log=log.logger()
    )
    await keeper.obtain()
    watch = TrustWatch(membership, keeper, chance=no_chance, log=log.logger(), in_use=in_use)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keeper.keep()), group.create_task(watch.run())]
        yield keeper, log
        for task in tasks:
            task.cancel()


async def one_stage(server: JoinServer, trust: TrustService, *, first: bool = False) -> None:
    authority = server.authority
    if first:
        step = begin(authority.rotation, await authority.prepare(root=True), system_clock())
    else:
        found = advance(authority.rotation, (), system_clock())
        assert found is not None
        step = found
    await authority.install(step.rotation)
    await server.certificate.renew()
    trust.wake()


async def test_a_bundle_is_taken_and_kept_without_a_restart(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        served(tmp_path / "ca") as (server, trust),
        an_agent(server, tmp_path / "agent") as (keeper, log),
    ):
        before, _ = keeper.held
        await one_stage(server, trust, first=True)
        await log.until("info: trust bundle taken")
        held, _ = keeper.held
        assert held.roots_pem == server.authority.roots().pem != before.roots_pem
        assert (held.chain_pem, held.key_pem) == (before.chain_pem, before.key_pem)
        stored = IdentityStore(tmp_path / "agent").load()
        assert stored is not None
        assert stored.roots_pem == held.roots_pem


async def test_it_renews_when_told_and_trusts_the_server_by_the_new_bundle(tmp_path: Path) -> None:
    haste: dict[str, float] = {}
    async with (
        asyncio.timeout(DEADLINE),
        served(tmp_path / "ca", haste) as (server, trust),
        an_agent(server, tmp_path / "agent") as (keeper, log),
    ):
        before, renewed = keeper.held
        await one_stage(server, trust, first=True)
        await log.until("info: trust bundle taken")
        await one_stage(server, trust)  # the server's certificate is of the new root by now
        haste[str(API_1)] = 0.05
        trust.wake()
        await renewed.wait()
        held, _ = keeper.held
        assert held.key_pem != before.key_pem
        await one_stage(server, trust)  # the old root goes
        await log.until("info: trust bundle taken", 2)
        held, _ = keeper.held
        assert held.roots_pem == server.authority.roots().pem
        assert held.roots_pem.count(b"BEGIN CERTIFICATE") == 1


async def test_nothing_is_said_to_be_in_use_before_whom_it_serves_uses_it(tmp_path: Path) -> None:
    ledger, taken = Ledger(), asyncio.Event()
    async with (
        asyncio.timeout(DEADLINE),
        served(tmp_path / "ca", ledger=ledger) as (server, trust),
        an_agent(server, tmp_path / "agent", in_use=lambda: _waited(taken)) as (_, log),
    ):
        await asyncio.sleep(0.2)
        assert trust.watched() == {str(API_1)}  # it is here, and says nothing
        assert not any(leaf.held for leaf in ledger.leaves())
        taken.set()
        while not all(leaf.held for leaf in ledger.leaves()):  # noqa: ASYNC110 - a ledger sets no event
            await asyncio.sleep(0.01)
        taken.clear()
        await one_stage(server, trust, first=True)
        await log.until("info: trust bundle taken")
        await asyncio.sleep(0.2)
        both = set(server.authority.rotation.bundle)
        assert not any(both <= leaf.held for leaf in ledger.leaves())
        taken.set()
        while not all(both <= leaf.held for leaf in ledger.leaves()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_bundle_that_mends_one_that_is_refused_is_taken(tmp_path: Path) -> None:
    """Whom the agent serves uses nothing of what it has, also when the stream is opened: as after a restart of the control plane."""
    never = asyncio.Event()
    async with (
        asyncio.timeout(DEADLINE),
        served(tmp_path / "ca") as (server, trust),
        an_agent(server, tmp_path / "agent", in_use=lambda: _waited(never)) as (keeper, log),
    ):
        before, _ = keeper.held
        await one_stage(server, trust, first=True)
        await log.until("info: trust bundle taken")
        authority = server.authority
        await authority.install(abort(authority.rotation, system_clock()).rotation)
        trust.wake()
        await log.until("info: trust bundle taken", 2)
        held, _ = keeper.held
        assert held.roots_pem == before.roots_pem


async def _waited(taken: asyncio.Event) -> None:
    await taken.wait()


async def test_it_comes_back_to_a_control_plane_that_was_away(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), contextlib.AsyncExitStack() as stack:
        async with served(tmp_path / "ca") as (server, _):
            keeper, log = await stack.enter_async_context(an_agent(server, tmp_path / "agent"))
            ports = tuple(
                int(each.rpartition(":")[2]) for each in (server.join_address, server.renew_address)
            )
        await log.until("info: the trust bundle is not followed now")
        async with served(tmp_path / "ca", ports=(ports[0], ports[1])) as (server, trust):
            await log.until("info: the trust bundle is followed again")
            await one_stage(server, trust, first=True)
            await log.until("info: trust bundle taken")
            held, _ = keeper.held
            assert held.roots_pem == server.authority.roots().pem


async def test_to_join_again_it_trusts_what_it_has_followed_besides_an_old_file(tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE), served(tmp_path / "ca") as (server, trust):
        old = tmp_path / "roots.pem"
        old.write_bytes(server.bundle.read_bytes())
        async with an_agent(server, tmp_path / "agent", old) as (keeper, log):
            await one_stage(server, trust, first=True)
            await log.until("info: trust bundle taken")
            await one_stage(server, trust)
            await one_stage(server, trust)
            await log.until("info: trust bundle taken", 2)
            held, _ = keeper.held
            assert old.read_bytes() not in held.roots_pem
            await keeper._join(held)  # as when it has ended
            assert log.events().count("info: joined") == 2
