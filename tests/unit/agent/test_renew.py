"""Joining and renewing against a real join service."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import BadOption, DamagedIdentity, JoinRefused, NeedsToken, NotOurControlPlane
from agent.identity_store import IdentityStore, StoredIdentity
from agent.renew import CertificateKeeper, Membership, TokenSource
from ca.times import Clock, system_clock
from mesh.identity import Identity
from mesh.names import Key
from mesh.workload import Locality
from tests.support.ca_builders import (
    API,
    API_1,
    TRUST_DOMAIN,
    HandClock,
    JoinServer,
    a_join_server,
    an_authority,
    no_chance,
)
from tests.support.ca_logs import Recorded

DEADLINE = 20


class Sleeps:
    """Moves the clock by what is slept. Real time passes only as far as others need it."""

    def __init__(self, clock: HandClock, then: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._clock = clock
        self._then = then
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._clock.move(timedelta(seconds=seconds))
        await asyncio.sleep(0)
        if self._then is not None:
            await self._then(len(self.slept))


def a_membership(
    server: JoinServer,
    token: str | None = None,
    *,
    token_file: Path | None = None,
    workload: Key = API_1,
    bundle: Path | None = None,
    trust_domain: str = TRUST_DOMAIN,
) -> Membership:
    return Membership(
        workload=workload,
        trust_domain=trust_domain,
        join_address=server.join_address,
        renew_address=server.renew_address,
        bundle=bundle or server.bundle,
        tokens=TokenSource(token, token_file),
    )


def a_keeper(
    membership: Membership,
    directory: Path,
    *,
    clock: Clock = system_clock,
    log: Recorded | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> CertificateKeeper:
    return CertificateKeeper(
        membership,
        IdentityStore(directory),
        clock=clock,
        chance=no_chance,
        log=(log or Recorded()).logger(),
        sleep=sleep,
    )


def a_token(server: JoinServer, clock: Clock = system_clock, uses: int = 1) -> str:
    return server.tokens.create("default", "api", now=clock(), uses=uses)


async def obtained(keeper: CertificateKeeper) -> StoredIdentity:
    async with asyncio.timeout(DEADLINE):
        return await keeper.obtain()


async def test_a_token_is_needed_once(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        first = await obtained(a_keeper(a_membership(server, a_token(server)), tmp_path / "agent"))
        assert (first.identity, first.workload) == (API, API_1)
        log = Recorded()
        again = await obtained(a_keeper(a_membership(server), tmp_path / "agent", log=log))
        assert again == first
        assert log.events() == ["info: identity loaded"]
    # The control plane is gone: the stored certificate needs nobody.
    assert await obtained(a_keeper(a_membership(server), tmp_path / "agent")) == first


async def test_the_place_that_the_control_plane_knows_is_kept_until_it_says_another(tmp_path: Path) -> None:
    here, there = Locality("eu", "a"), Locality("eu", "b")
    async with a_join_server(tmp_path) as server:
        server.places[API_1] = here
        keeper = a_keeper(a_membership(server, a_token(server)), tmp_path / "agent")
        first = await obtained(keeper)
        assert first.locality == here
        await keeper.take_bundle(first.roots_pem, federated=())
        assert keeper.held[0].locality == here
        server.places[API_1] = there
        assert (await keeper._renew(keeper.held[0])).locality == there
        server.places.clear()  # as one that has just begun
        assert (await keeper._renew(keeper.held[0])).locality == there
    # Started again, nobody has to be asked.
    assert (await obtained(a_keeper(a_membership(server), tmp_path / "agent"))).locality == there


async def test_without_a_token_there_is_no_joining(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        with pytest.raises(NeedsToken, match="meshwright token create"):
            await obtained(a_keeper(a_membership(server), tmp_path / "agent"))


async def test_a_refused_token_ends_with_the_reason(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = a_token(server)
        await obtained(a_keeper(a_membership(server, token), tmp_path / "one"))
        with pytest.raises(JoinRefused, match="1 of 1") as caught:
            await obtained(a_keeper(a_membership(server, token), tmp_path / "two"))
        assert caught.value.exit_code != 0
        assert token.partition(".")[2] not in str(caught.value)


async def test_a_server_of_a_foreign_authority_is_refused(tmp_path: Path) -> None:
    foreign = an_authority(tmp_path / "foreign")  # it claims our trust domain
    async with a_join_server(tmp_path / "ours") as server:
        membership = a_membership(server, a_token(server), bundle=foreign.bundle_path)
        with pytest.raises(NotOurControlPlane, match="check the address"):
            await obtained(a_keeper(membership, tmp_path / "agent"))
        assert server.tokens.list()[0].used == 0
        assert server.events == []


async def test_a_server_that_is_a_workload_is_refused(tmp_path: Path) -> None:
    """A workload's certificate is of the right authority, and still it is not the control plane."""
    async with a_join_server(tmp_path) as server:
        membership = a_membership(server, a_token(server), trust_domain="other.org")
        with pytest.raises(NotOurControlPlane):
            await obtained(a_keeper(membership, tmp_path / "agent"))


async def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        membership = a_membership(server, a_token(server), bundle=tmp_path / "none.pem")
        with pytest.raises(NotOurControlPlane, match=r"none\.pem"):
            await obtained(a_keeper(membership, tmp_path / "agent"))


@pytest.mark.parametrize(
    "content", ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
async def test_a_bundle_without_a_certificate_is_no_reason_to_wait(tmp_path: Path, content: str) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(content)
    async with a_join_server(tmp_path) as server:
        membership = a_membership(server, a_token(server), bundle=bundle)
        with pytest.raises(BadOption, match=r"bundle\.pem holds no certificate: copy roots\.pem"):
            await obtained(a_keeper(membership, tmp_path / "agent"))
        assert server.events == []


async def test_a_token_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    path = tmp_path / "token"
    async with a_join_server(tmp_path) as server:
        membership = a_membership(server, token_file=path)
        with pytest.raises(NeedsToken, match=rf"token file {path}: no such file: give a join token"):
            await obtained(a_keeper(membership, tmp_path / "agent"))
        path.touch(mode=0o600)
        with pytest.raises(NeedsToken, match=rf"token file {path} is empty: give a join token"):
            await obtained(a_keeper(membership, tmp_path / "agent"))


async def test_a_token_from_a_pipe_survives_the_wait_for_a_control_plane(tmp_path: Path) -> None:
    """`--token-file <(meshwright token create ...)` can be read once only."""
    async with a_join_server(tmp_path) as server:
        token = a_token(server)
    ports = int(server.join_address.rpartition(":")[2]), int(server.renew_address.rpartition(":")[2])
    reading, writing = os.pipe()
    os.write(writing, token.encode())
    os.close(writing)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(os.close, reading)

        async def start_on_the_second(number: int) -> None:
            if number == 2:
                await stack.enter_async_context(a_join_server(tmp_path, ports=ports))

        sleep = Sleeps(HandClock(system_clock()), start_on_the_second)
        membership = a_membership(server, token_file=Path(f"/dev/fd/{reading}"))
        assert (await obtained(a_keeper(membership, tmp_path / "agent", sleep=sleep))).identity == API


async def plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_a_wrong_join_address_is_named_with_its_option(tmp_path: Path) -> None:
    """The port of mutual TLS, one of plain HTTP, and one that nobody listens on."""
    http = await asyncio.start_server(plain_http, "127.0.0.1", 0)
    async with a_join_server(tmp_path) as server, http:
        admin = f"127.0.0.1:{http.sockets[0].getsockname()[1]}"
        for address in (server.renew_address, admin, "127.0.0.1:1"):
            log = Recorded()
            membership = replace(a_membership(server, a_token(server)), join_address=address)
            task = asyncio.create_task(a_keeper(membership, tmp_path / "agent", log=log).obtain())
            async with asyncio.timeout(DEADLINE):
                await log.until("warning: joining has to wait")
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert f"is {address} its join address (--join, 15011 by default)" in log.entries[0][2]["reason"]


async def test_joining_waits_for_a_control_plane_that_is_away(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = a_token(server)
    ports = int(server.join_address.rpartition(":")[2]), int(server.renew_address.rpartition(":")[2])
    clock, log = HandClock(system_clock()), Recorded()
    async with contextlib.AsyncExitStack() as stack:

        async def start_on_the_third(number: int) -> None:
            if number == 3:
                await stack.enter_async_context(a_join_server(tmp_path, ports=ports))

        sleep = Sleeps(clock, start_on_the_third)
        keeper = a_keeper(a_membership(server, token), tmp_path / "agent", log=log, sleep=sleep)
        assert (await obtained(keeper)).identity == API
    assert sleep.slept == [0.375, 0.75, 1.5]
    assert log.events() == ["warning: joining has to wait"] * 3 + ["info: joined"]


async def kept_until(keeper: CertificateKeeper, log: Recorded, done: Callable[[], bool]) -> None:
    """Let `keeper` keep until `done`, which is asked at each log entry."""
    async with asyncio.timeout(DEADLINE):
        task = asyncio.create_task(keeper.keep())
        try:
            while not done():
                waiter = asyncio.create_task(log.changed())
                await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
                waiter.cancel()
                assert not task.done(), task.exception()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


# TLS looks at the real clock, so these lives are short in real time.


async def test_it_renews_at_half_of_the_life(tmp_path: Path) -> None:
    async with a_join_server(tmp_path, lifetime=timedelta(seconds=2)) as server:
        log, store = Recorded(), IdentityStore(tmp_path / "agent")
        keeper = a_keeper(a_membership(server, a_token(server)), tmp_path / "agent", log=log)
        first = await obtained(keeper)
        await kept_until(keeper, log, lambda: len(log.entries) == 4)
        last = store.load()
        assert last is not None
        assert last.not_after - first.not_after >= timedelta(seconds=2)
        assert last.key_pem != first.key_pem
        assert log.events() == ["info: joined"] + ["info: certificate renewed"] * 3
        assert server.tokens.list()[0].used == 1


async def test_failures_to_renew_are_told_and_a_token_helps_after_the_end(tmp_path: Path) -> None:
    expired = "error: the certificate has expired: a new connection to the control plane needs a join token"
    log, token_file = Recorded(), tmp_path / "token"
    async with a_join_server(tmp_path, lifetime=timedelta(seconds=4)) as server:
        first_token = a_token(server)
        token_file.write_text(first_token + "\n")
        token_file.chmod(0o600)
        membership = a_membership(server, token_file=token_file)
        # Renewal leads nowhere: a port that nobody listens on, as if the control plane were away.
        keeper = a_keeper(replace(membership, renew_address="127.0.0.1:1"), tmp_path / "agent", log=log)
        first = await obtained(keeper)
        token_file.unlink()
        await kept_until(keeper, log, lambda: expired in log.events())
        token_file.write_text(a_token(server))
        token_file.chmod(0o600)
        await kept_until(keeper, log, lambda: log.events().count("info: joined") == 2)
    assert list(dict.fromkeys(log.events())) == [
        "info: joined",
        "warning: the certificate could not be renewed yet",
        "error: the certificate ends soon and could not be renewed",
        expired,
    ]
    told = repr(log.entries)
    assert first_token.partition(".")[2] not in told
    assert first.key_pem.split(b"\n")[1].decode() not in told


async def test_each_workload_has_a_directory_of_its_own(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        await obtained(a_keeper(a_membership(server, a_token(server)), tmp_path / "agent"))
        other = a_membership(server, a_token(server), workload=Key("default", "api-2"))
        with pytest.raises(DamagedIdentity, match="directory of its own"):
            await obtained(a_keeper(other, tmp_path / "agent"))


async def test_a_damaged_identity_is_replaced_where_a_token_is_given(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        await obtained(a_keeper(a_membership(server, a_token(server)), tmp_path / "agent"))
        IdentityStore(tmp_path / "agent").paths().key.write_bytes(b"junk")
        with pytest.raises(DamagedIdentity):
            await obtained(a_keeper(a_membership(server), tmp_path / "agent"))
        log = Recorded()
        await obtained(a_keeper(a_membership(server, a_token(server)), tmp_path / "agent", log=log))
        assert log.events() == ["warning: the stored identity is not used", "info: joined"]


async def test_a_denied_workload_is_told_why(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        server.discovered[API_1] = Identity(TRUST_DOMAIN, "default", "store")
        with pytest.raises(JoinRefused, match="'store'"):
            await obtained(a_keeper(a_membership(server, a_token(server)), tmp_path / "agent"))


def test_a_token_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert TokenSource(file=path).read() is None
    path.write_text("mwj_x\n")
    path.chmod(0o644)
    with pytest.raises(NeedsToken, match="0644"):
        TokenSource(file=path).read()
    path.chmod(0o600)
    assert TokenSource(file=path).read() == "mwj_x"
    assert "mwj" not in repr(TokenSource("mwj_secret"))


async def test_the_mesh_is_called_otherwise_by_and_by(tmp_path: Path) -> None:
    """An agent that was told the former name goes on, over its own restart too; one that was told a strange one does not begin."""
    former = "former.org"
    async with a_join_server(tmp_path, aliases=(former,)) as server:
        membership = a_membership(server, a_token(server), trust_domain=former)
        first = await obtained(a_keeper(membership, tmp_path / "agent"))
        assert (first.identity.trust_domain, first.aliases) == (TRUST_DOMAIN, (former,))
        keeper = a_keeper(membership, tmp_path / "agent")
        assert await obtained(keeper) == first
        # It is no name of the mesh any more, but this agent knows that it was.
        await keeper.take_bundle(first.roots_pem, trust_domains=(TRUST_DOMAIN,))
        assert await obtained(a_keeper(membership, tmp_path / "agent")) == first
        strange = a_membership(server, trust_domain="strange.org")
        with pytest.raises(DamagedIdentity, match=r"not for default/api-1 in 'strange\.org'"):
            await obtained(a_keeper(strange, tmp_path / "agent"))


def test_a_projected_token_is_read_anew_each_time_and_says_its_cluster(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    path.chmod(0o644)  # as the kubelet leaves it, in a mount of the container's own
    source = TokenSource(file=path, kind="kubernetes_token", cluster="east")
    assert source.read() == "east:first"
    path.write_text("second\n")
    assert source.read() == "east:second"
    assert TokenSource(file=path, kind="kubernetes_token").read() == "second"
    path.write_text("\n")
    assert source.read() is None
