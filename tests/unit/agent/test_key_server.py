"""The agent's SDS on its Unix socket: what it serves, to whom, and when it counts as taken."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from agent.errors import BadOption
from agent.identity_store import StoredIdentity, parse_identity
from agent.key_server import AWAY, KeyServer
from agent.sockets import LONGEST_PATH, socket_path
from ca.authority import LeafRequest
from ca.csr import make_csr
from ca.keys import key_pem, new_key
from mesh.identity import Identity
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from tests.support.ca_builders import API_1, TRUST_DOMAIN, an_authority
from tests.support.ca_logs import Recorded
from xds.types import CLUSTER, SECRET

DELTA = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
SOTW = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
PATIENCE = 10.0


async def an_identity(folder: Path) -> StoredIdentity:
    authority = an_authority(folder)
    key = new_key()
    issued = await authority.issue(
        LeafRequest(Identity(TRUST_DOMAIN, "default", "api"), make_csr(key), API_1)
    )
    return parse_identity(key_pem(key), issued.chain_pem, authority.roots().pem)


@dataclass
class Served:
    server: KeyServer
    path: Path
    held: StoredIdentity
    log: Recorded
    now: list[float] = field(default_factory=lambda: [0.0])

    async def waits_for(self, *names: str) -> None:
        """Return when `in_use` has looked, and these are all that it waits for."""

        def looked() -> bool:
            return any(
                event == "envoy has not taken its keys yet" and fields["names"] == list(names)
                for _, event, fields in self.log.entries
            )

        while not looked():
            await self.log.changed()

    def call(self, channel: grpc.aio.Channel, method: str) -> Any:
        return channel.stream_stream(method)()

    def channel(self) -> grpc.aio.Channel:
        # A pool of its own: a connection that failed is not remembered.
        return grpc.aio.insecure_channel(f"unix:{self.path}", (("grpc.use_local_subchannel_pool", 1),))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    log, now = Recorded(), [0.0]
    path = socket_path(folder / "agent", folder)
    server = KeyServer(path, API_1, log=log.logger(), monotonic=lambda: now[0])
    held = await an_identity(folder)
    async with asyncio.timeout(PATIENCE), server:
        yield Served(server, path, held, log, now)


def asks(*names: str, node: str = str(API_1)) -> bytes:
    made = DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names)
    made.node.id = node
    return made.SerializeToString()


async def answer(call: Any) -> DeltaDiscoveryResponse:
    return DeltaDiscoveryResponse.FromString(await call.read())


async def acknowledge(call: Any, given: DeltaDiscoveryResponse, error: str = "") -> None:
    made = DeltaDiscoveryRequest(type_url=SECRET, response_nonce=given.nonce)
    if error:
        made.error_detail.message = error
    await call.write(made.SerializeToString())


def secrets(given: DeltaDiscoveryResponse) -> dict[str, Secret]:
    return {each.name: Secret.FromString(each.resource.value) for each in given.resources}


async def test_what_is_held_is_served_and_what_is_new_is_pushed_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.channel() as channel:
        call = served.call(channel, DELTA)
        await call.write(asks("identity", "roots"))
        served.server.give(served.held)  # who asked before waits
        first = await answer(call)
        found = secrets(first)
        assert found["identity"].tls_certificate.private_key.inline_bytes == served.held.key_pem
        assert found["identity"].tls_certificate.certificate_chain.inline_bytes == served.held.chain_pem
        assert found["roots"].validation_context.trusted_ca.inline_bytes == served.held.roots_pem
        await acknowledge(call, first)
        wider = replace(served.held, roots_pem=served.held.roots_pem * 2)
        served.server.give(wider)
        assert set(secrets(await answer(call))) == {"roots"}  # what did not change is not sent


async def test_the_state_of_the_world_is_spoken_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.channel() as channel:
        served.server.give(served.held)
        call = served.call(channel, SOTW)
        request = DiscoveryRequest(type_url=SECRET, resource_names=["identity"])
        request.node.id = str(API_1)
        await call.write(request.SerializeToString())
        given = DiscoveryResponse.FromString(await call.read())
        assert [Secret.FromString(each.value).name for each in given.resources] == ["identity"]


@pytest.mark.parametrize("node", ["", "default/api-2", "nonsense", "default/" + "x" * 1000])
async def test_another_proxy_is_refused(tmp_path: Path, node: str) -> None:
    async with serving(tmp_path) as served, served.channel() as channel:
        served.server.give(served.held)
        call = served.call(channel, DELTA)
        await call.write(asks("identity", node=node))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            assert await call.read() is None
        assert refused.value.code() in {
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.INVALID_ARGUMENT,
        }


async def test_other_names_and_other_services_are_not_served(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.channel() as channel:
        served.server.give(served.held)
        call = served.call(channel, DELTA)
        await call.write(asks("identity-of-another", "*"))
        given = await answer(call)
        # The wildcard means what there is: the workload's own two, and nothing else.
        assert "identity-of-another" not in secrets(given)
        await served.log.until("warning: a proxy asks its agent for secrets that are none of its keys")
        for method, type_url in ((ADS, SECRET), (DELTA, CLUSTER)):
            other = served.call(channel, method)
            request = DeltaDiscoveryRequest(type_url=type_url)
            request.node.id = str(API_1)
            await other.write(request.SerializeToString())
            with pytest.raises(grpc.aio.AioRpcError):
                assert await other.read() is None


async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(served.path.parent.stat().st_mode) == 0o700
        if os.geteuid():
            pytest.skip("only root can become another user")
        connect = f"import socket, os; os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(served.path)!r})"
        other = await asyncio.create_subprocess_exec(
            "python3", "-I", "-c", connect, stderr=asyncio.subprocess.PIPE
        )
        _, told = await other.communicate()
        assert b"PermissionError" in told
    assert not served.path.exists()


async def test_a_socket_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.server.give(served.held)
        watching = asyncio.create_task(served.server.watch())
        try:
            for _ in range(2):
                served.path.unlink()
                while not served.path.exists():  # noqa: ASYNC110 - a file sets no event
                    await asyncio.sleep(0.02)
            async with served.channel() as channel:
                call = served.call(channel, DELTA)
                await call.write(asks("identity"))
                assert "identity" in secrets(await answer(call))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert "warning: the socket of the keys is gone, and is made anew" in served.log.events()


async def test_what_a_crash_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = socket_path(tmp_path / "agent", tmp_path)
    path.parent.mkdir(parents=True)
    os.mkfifo(path.with_name("another"))
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serving(tmp_path) as served, served.channel() as channel:
        served.server.give(served.held)
        call = served.call(channel, DELTA)
        await call.write(asks("roots"))
        assert "roots" in secrets(await answer(call))


async def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "sds").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="not a directory of this user"):
        async with serving(tmp_path):
            pass


def test_a_path_too_long_for_a_socket_is_a_short_one_and_always_the_same(tmp_path: Path) -> None:
    near = tmp_path / "agent"
    assert socket_path(near, tmp_path) == near / "sds" / "agent.sock"
    far = tmp_path / ("x" * LONGEST_PATH)
    short = Path("/run")
    found = socket_path(far, short)
    assert found == socket_path(far, short)
    assert found.parent.parent == short
    assert found != socket_path(far.with_name("y" * LONGEST_PATH), short)
    with pytest.raises(BadOption, match="--data-dir"):
        socket_path(far, far)
    exact = Path("/" + "x" * (LONGEST_PATH - len("//sds/agent.sock")))
    assert len(os.fsencode(socket_path(exact, short))) == LONGEST_PATH


async def test_in_use_is_what_every_envoy_has_acknowledged(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.channel() as channel:
        served.server.give(served.held)
        using = asyncio.create_task(served.server.in_use())
        calls = {name: served.call(channel, DELTA) for name in ("identity", "roots")}
        given = {}
        for name, call in calls.items():
            await call.write(asks(name))
            given[name] = await answer(call)
        await acknowledge(calls["identity"], given["identity"])
        await served.waits_for("roots")
        assert not using.done()
        await acknowledge(calls["roots"], given["roots"])
        await using
        served.server.give(replace(served.held, roots_pem=served.held.roots_pem * 2))
        using = asyncio.create_task(served.server.in_use())
        refused = await answer(calls["roots"])
        await acknowledge(calls["roots"], refused, error="junk")
        await served.log.until("error: envoy refused its keys")
        assert not using.done()
        using.cancel()


async def test_who_has_gone_is_waited_for_as_long_as_it_may_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.server.give(served.held)
        using = asyncio.create_task(served.server.in_use())
        await served.waits_for("identity", "roots")
        assert not using.done()
        served.now[0] += AWAY
        await using
