"""The trust service over real gRPC and real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ca import control_plane
from ca.authority import TrustBundle
from ca.ledger import Ledger
from ca.peer import Proved
from ca.recorded import RecordedAuthority
from ca.rotation import Holder, Leaf, begin
from ca.times import system_clock
from ca.trust import MOST_STREAMS, REPORTS_PER_SECOND, TrustService
from mesh.identity import Identity
from pb.meshwright.trust.v1.trust_pb2 import WatchRequest, WatchResponse
from pb.meshwright.trust.v1.trust_pb2_grpc import TrustServiceStub, add_TrustServiceServicer_to_server
from tests.support.ca_builders import (
    API_1,
    TRUST_DOMAIN,
    Credentials,
    HandClock,
    JoinServer,
    a_join_server,
    an_authority,
    certificates,
)

DEADLINE = 10


@dataclass
class Served:
    server: JoinServer
    trust: TrustService
    ledger: Ledger
    recorded: RecordedAuthority
    haste: dict[str, float]
    stale: dict[str, str]
    reports: asyncio.Event
    federated: list[TrustBundle]

    async def credentials(self, lifetime: timedelta = timedelta(hours=1)) -> Credentials:
        """Of the workload api-1, in the ledger."""
        recorded: Any = self.recorded  # the helper names the built-in authority
        return await Credentials.issue(recorded, lifetime=lifetime)

    @contextlib.asynccontextmanager
    async def watch(self, client: Credentials | None) -> AsyncIterator[Any]:
        async with self.server.channel(self.server.renew_address, client) as channel:
            call = TrustServiceStub(channel).Watch()
            try:
                yield call
            finally:
                call.cancel()

    async def rotate(self) -> tuple[str, ...]:
        """A new root beside the old one."""
        authority = self.server.authority
        step = begin(authority.rotation, await authority.prepare(root=True), system_clock())
        self.ledger.restricted(step.rotation.bundle)
        await authority.install(step.rotation)
        self.trust.wake()
        return step.rotation.bundle

    def leaf(self) -> Leaf:
        (leaf,) = self.ledger.leaves()
        return leaf


@contextlib.asynccontextmanager
async def served(directory: Path, clock: HandClock | None = None) -> AsyncIterator[Served]:
    authority, ledger, reports = an_authority(directory), Ledger(), asyncio.Event()
    haste: dict[str, float] = {}
    federated: list[TrustBundle] = []
    stale: dict[str, str] = {}
    now = clock or system_clock

    def reason(holder: Proved) -> str | None:
        return stale.get(holder.node_id) or ("it has ended" if holder.not_after <= now() else None)

    trust = TrustService(
        authority,
        ledger,
        clock=now,
        hasten=lambda leaf: haste.get(leaf.workload),
        stale=reason,
        on_report=reports.set,
        federated=lambda: tuple(federated),
    )
    async with a_join_server(
        directory, authority=authority, also=lambda server: add_TrustServiceServicer_to_server(trust, server)
    ) as server:
        yield Served(
            server, trust, ledger, RecordedAuthority(authority, ledger), haste, stale, reports, federated
        )


def using(*roots: str, number: int = 0) -> WatchRequest:
    return WatchRequest(roots_sha256=[bytes.fromhex(each) for each in roots], number=number)


async def answered(call: Any) -> WatchResponse:
    async with asyncio.timeout(DEADLINE):
        answer = await call.read()
    assert isinstance(answer, WatchResponse)
    return answer


async def refused(call: Any) -> grpc.StatusCode:
    async with asyncio.timeout(DEADLINE):
        code: grpc.StatusCode = await call.code()
    return code


async def test_a_changed_bundle_comes_at_once_and_its_use_is_entered(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        (old,) = mesh.server.authority.rotation.bundle
        await call.write(using(old))
        first = await answered(call)
        assert (first.number, len(certificates(first.roots_pem))) == (1, 1)
        bundle = await mesh.rotate()
        second = await answered(call)
        assert (second.number, second.roots_pem) == (2, mesh.server.authority.roots().pem)
        assert not second.HasField("renew_after_ms")
        assert (mesh.leaf().held, mesh.leaf().settled) == (frozenset({old}), False)
        mesh.reports.clear()
        await call.write(using(old, number=1))  # said before it took the second: it counts for nothing
        await call.write(using(*bundle, number=2))
        async with asyncio.timeout(DEADLINE):
            await mesh.reports.wait()
        assert (mesh.leaf().held, mesh.leaf().settled) == (frozenset(bundle), True)
        assert mesh.trust.watched() == {"default/api-1"}


async def test_foreign_trust_domains_come_with_it_and_go(tmp_path: Path) -> None:
    other = an_authority(tmp_path / "other", trust_domain="b.example").roots()
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        bundle = mesh.server.authority.rotation.bundle
        await call.write(using(*bundle))
        assert not (await answered(call)).federated
        mesh.federated.append(other)
        mesh.trust.wake()
        told = await answered(call)
        assert [(each.trust_domain, each.roots_pem) for each in told.federated] == [("b.example", other.pem)]
        assert told.roots_pem == mesh.server.authority.roots().pem, "ours are ours alone"
        mesh.reports.clear()
        await call.write(using(*bundle, number=told.number))
        async with asyncio.timeout(DEADLINE):
            await mesh.reports.wait()
        assert mesh.leaf().settled
        mesh.federated.clear()
        mesh.trust.wake()
        assert not (await answered(call)).federated


async def test_an_agent_is_told_to_renew_once(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        mesh.haste["default/api-1"] = 1.5
        await call.write(using(*mesh.server.authority.rotation.bundle))
        assert (await answered(call)).renew_after_ms == 1500
        mesh.trust.wake()
        await mesh.rotate()
        assert not (await answered(call)).HasField("renew_after_ms")


async def test_a_leaf_is_in_use_when_it_is_said_on_a_stream_that_was_made_with_it(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh:
        client = await mesh.credentials()
        first = mesh.leaf()
        mesh.ledger.forget("default/api-1")
        mesh.ledger.issued(Leaf(7, Holder.AGENT, "default/api-1", first.family, 1, first.not_after))
        mesh.ledger.issued(first)
        async with mesh.watch(client) as call:
            await answered(call)
            assert len(mesh.ledger) == 2
            await call.write(using(*mesh.server.authority.rotation.bundle, number=1))
            async with asyncio.timeout(DEADLINE):
                await mesh.reports.wait()
            assert mesh.leaf() == first


async def test_a_leaf_that_the_ledger_does_not_know_is_entered(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh:
        client = await Credentials.issue(mesh.server.authority)
        async with mesh.watch(client) as call:
            await call.write(using())
            await answered(call)
            leaf = mesh.leaf()
            assert (leaf.workload, leaf.generation, leaf.held) == ("default/api-1", 0, frozenset())


@pytest.mark.parametrize("who", ["control plane", "other trust domain"])
async def test_who_is_no_workload_of_the_mesh_is_refused(tmp_path: Path, who: str) -> None:
    async with served(tmp_path) as mesh:
        if who == "control plane":
            client = await Credentials.issue(
                mesh.server.authority, control_plane.identity(TRUST_DOMAIN), None
            )
            async with mesh.watch(client) as call:
                assert await refused(call) is grpc.StatusCode.UNAUTHENTICATED
            client = await Credentials.issue(
                mesh.server.authority, control_plane.identity(TRUST_DOMAIN), API_1
            )
            async with mesh.watch(client) as call:
                assert await refused(call) is grpc.StatusCode.PERMISSION_DENIED
        else:
            other = an_authority(tmp_path / "other", trust_domain="other.org")
            client = await Credentials.issue(other, Identity("other.org", "default", "api"))
            async with mesh.watch(client) as call:
                assert await refused(call) is grpc.StatusCode.UNAVAILABLE  # by TLS
        assert len(mesh.ledger) == 0


@pytest.mark.parametrize(
    "request_", [WatchRequest(roots_sha256=[b"short"]), WatchRequest(roots_sha256=[bytes(32)] * 65)]
)
async def test_what_is_no_report_is_refused(tmp_path: Path, request_: WatchRequest) -> None:
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        await answered(call)
        await call.write(request_)
        assert await refused(call) is grpc.StatusCode.INVALID_ARGUMENT
        assert mesh.leaf().settled  # as it was issued


async def test_one_workload_has_so_many_streams(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh, contextlib.AsyncExitStack() as stack:
        client = await mesh.credentials()
        for _ in range(MOST_STREAMS):
            call = await stack.enter_async_context(mesh.watch(client))
            await call.write(using())
            await answered(call)
        async with mesh.watch(client) as call:
            assert await refused(call) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_does_not_outlive_its_certificate(tmp_path: Path) -> None:
    clock = HandClock(system_clock())
    async with served(tmp_path, clock) as mesh, mesh.watch(await mesh.credentials()) as call:
        await call.write(using())
        await answered(call)
        clock.move(timedelta(hours=2))
        mesh.trust.wake()
        assert await refused(call) is grpc.StatusCode.UNAUTHENTICATED
    assert mesh.trust.watched() == frozenset()


async def test_who_is_another_by_now_is_shut_out_at_once_and_does_not_come_back(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh:
        client = await mesh.credentials()
        async with mesh.watch(client) as call:
            await call.write(using())
            await answered(call)
            mesh.trust.end_stale("default/api-1")  # it holds
            mesh.stale["default/api-1"] = "this workload is another by now"
            mesh.trust.end_stale("default/other")
            assert mesh.trust.watched() == {"default/api-1"}
            mesh.trust.end_stale()
            assert await refused(call) is grpc.StatusCode.UNAUTHENTICATED
        mesh.ledger.forget("default/api-1")
        async with mesh.watch(client) as call:
            assert await refused(call) is grpc.StatusCode.UNAUTHENTICATED
        assert len(mesh.ledger) == 0
        assert mesh.trust.watched() == frozenset()


async def test_a_stream_is_ended_by_an_operators_word(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        await call.write(using())
        await answered(call)
        mesh.trust.end("default/other", "a word")
        mesh.trust.end("default/api-1", "a word")
        assert await refused(call) is grpc.StatusCode.UNAUTHENTICATED
        assert await call.details() == "a word"


async def test_reports_have_a_rate(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        (root,) = mesh.server.authority.rotation.bundle
        await call.write(using())
        number, reports = (await answered(call)).number, 0

        def counted() -> None:
            nonlocal reports
            reports += 1

        mesh.trust._on_report = counted
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while True:  # until it is held back
                    await call.write(using(*(root,) * (reports % 2), number=number))
        assert 1 <= reports <= 2 + REPORTS_PER_SECOND * (time.monotonic() - began)


async def test_it_ends_in_peace(tmp_path: Path) -> None:
    async with served(tmp_path) as mesh, mesh.watch(await mesh.credentials()) as call:
        await call.write(using())
        await answered(call)
        mesh.trust.close()
        async with asyncio.timeout(DEADLINE):
            assert await call.read() is grpc.aio.EOF
