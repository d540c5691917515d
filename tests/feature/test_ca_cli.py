"""`meshwright ca` against a running control plane."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from agent.identity_store import IdentityStore, StoredIdentity
from agent.renew import CertificateKeeper, Membership, TokenSource
from ca.control_plane import server_name
from ca.times import system_clock
from ca.tokens import TokenStore
from mesh.names import Key
from meshwright.client import get_ca
from pb.meshwright.trust.v1.trust_pb2 import WatchRequest, WatchResponse
from pb.meshwright.trust.v1.trust_pb2_grpc import TrustServiceStub
from tests.support.ca_builders import no_chance
from tests.support.ca_logs import Recorded
from tests.support.mesh import LOOPBACK, Instance, Mesh, a_service_document
from tests.support.processes import eventually, meshwright, start


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path) as mesh:
        await mesh.serve()
        yield mesh


async def ca(mesh: Mesh, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of `meshwright ca …`."""
    log = mesh.folder / "ca.log"
    log.unlink(missing_ok=True)
    ran = await start("ca", mesh.folder, *meshwright("ca", *arguments, "--data-dir", str(mesh.data)))
    return await ran.process.wait(), ran.text()


async def told(mesh: Mesh, *arguments: str) -> Any:
    code, text = await ca(mesh, *arguments, "-o", "json")
    assert code == 0, text
    return json.loads(text)


async def join_and_go(mesh: Mesh, name: str, account: str = "gone") -> StoredIdentity:
    """A proxy that joins and is never seen again, and what it was given."""
    membership = Membership(
        workload=Key("default", name),
        trust_domain="mesh.local",
        join_address=f"{LOOPBACK}:{mesh.join_port}",
        renew_address=f"{LOOPBACK}:{mesh.xds_port}",
        bundle=mesh.data / "roots.pem",
        tokens=TokenSource(TokenStore(mesh.data).create("default", account, now=system_clock())),
    )
    store, log = IdentityStore(mesh.folder / name), Recorded().logger()
    keeper = CertificateKeeper(membership, store, clock=system_clock, chance=no_chance, log=log)
    await keeper.obtain()
    return keeper.held[0]


class Liar:
    """Has a certificate, and says over and over that it uses no root, over a stream that it opens again whenever that ends."""

    def __init__(self, mesh: Mesh, held: StoredIdentity) -> None:
        self.ends: list[grpc.StatusCode] = []
        self._address = f"{LOOPBACK}:{mesh.xds_port}"
        self._held = held

    async def lie(self) -> None:
        held = self._held
        while True:
            credentials = grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem)
            name = (("grpc.ssl_target_name_override", server_name("mesh.local")),)
            async with grpc.aio.secure_channel(self._address, credentials, options=name) as channel:
                call = TrustServiceStub(channel).Watch()
                try:
                    await call.write(WatchRequest())
                    while isinstance(answer := await call.read(), WatchResponse):
                        held = replace(held, roots_pem=answer.roots_pem)
                        await call.write(WatchRequest(number=answer.number))
                except grpc.aio.AioRpcError as error:
                    self.ends.append(error.code())


@contextlib.asynccontextmanager
async def lying(mesh: Mesh, held: StoredIdentity) -> AsyncIterator[Liar]:
    liar = Liar(mesh, held)
    task = asyncio.create_task(liar.lie())
    try:
        yield liar
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stable(mesh: Mesh) -> bool:
    return (await get_ca(mesh.data)).stage == "stable"


async def test_a_rotation_from_the_command_line(serving: Mesh) -> None:
    before = await told(serving, "status")
    assert (before["stage"], before["lagging"], before["warnings"]) == ("stable", [], [])
    assert [root["signs"] for root in before["roots"]] == [True]
    begun = await told(serving, "rotate", "--by-hand")
    assert (begun["stage"], len(begun["roots"]), begun["awaitsOperator"]) == ("trusting", 2, True)
    code, text = await ca(serving, "status", "--check")
    assert code == 1
    assert "meshwright ca proceed" in text
    assert "trusting" in text
    code, text = await ca(serving, "rotate")
    assert code == 3
    assert "meshwright ca abort" in text
    assert await serving.metric('meshwright_ca_rotation_stage{stage="trusting"}') == 1
    assert await serving.metric('meshwright_ca_rotation_stage{stage="stable"}') == 0
    for stage in ("signing", "retiring"):
        assert (await ca(serving, "proceed"))[0] == 0

        async def reached(stage: str = stage) -> bool:
            return (await get_ca(serving.data)).stage in {stage, "stable"}

        await eventually(reached, stage)
    await eventually(lambda: stable(serving), "stable")
    after = await told(serving, "status")
    assert [root["sha256"] for root in after["roots"]] != [root["sha256"] for root in before["roots"]]
    assert (await ca(serving, "status", "--check"))[0] == 0
    stages = [
        json.loads(line)
        for line in (serving.data / "audit.log").read_text().splitlines()
        if '"ca rotation"' in line
    ]
    assert [each["stage"] for each in stages] == ["trusting", "signing", "retiring", "stable"]


async def test_an_intermediate_alone_and_what_is_refused(serving: Mesh) -> None:
    before = await told(serving, "status")
    for refused in (("abort",), ("proceed",), ("forget", "default/nobody")):
        code, text = await ca(serving, *refused)
        assert (code, text.startswith("meshwright: ")) in {(1, True), (3, True)}, text
    assert (await told(serving, "rotate", "intermediate"))["stage"] == "signing"
    await eventually(lambda: stable(serving), "stable")
    after = await told(serving, "status")
    assert after["roots"] == before["roots"]
    assert after["generation"] == before["generation"] + 1


async def test_who_has_gone_is_named_and_may_be_forgotten(serving: Mesh) -> None:
    await join_and_go(serving, "gone-1")
    await told(serving, "rotate")
    code, text = await ca(serving, "status", "--check")
    assert code == 1
    assert "default/gone-1" in text
    (lag,) = (await told(serving, "status"))["lagging"]
    assert (lag["workload"], lag["holder"], lag["connected"]) == ("default/gone-1", "agent", False)
    assert lag["until"] > lag["since"]

    async def counted() -> bool:  # at the next look
        return await serving.metric("meshwright_ca_rotation_lagging") == 1

    await eventually(counted, "it is counted")
    assert (await ca(serving, "forget", "default/gone-1"))[0] == 0
    await eventually(lambda: stable(serving), "stable")


async def test_who_lies_is_given_up_by_an_operators_word(serving: Mesh) -> None:
    async with lying(serving, await join_and_go(serving, "liar-1")) as liar:
        await told(serving, "rotate")

        async def waits_for_it() -> bool:
            return [each.connected for each in (await get_ca(serving.data)).lagging] == [True]

        await eventually(waits_for_it, "the rotation waits for the liar")
        code, text = await ca(serving, "forget", "default/liar-1")
        assert code == 3
        assert "--even-if-connected" in text
        await told(serving, "forget", "default/liar-1", "--even-if-connected")
        await eventually(lambda: stable(serving), "stable")
        assert grpc.StatusCode.UNAUTHENTICATED in liar.ends


async def test_who_has_another_service_account_is_shut_out(serving: Mesh) -> None:
    web = Instance("web", "web-1")
    serving.write_service("web", web)
    async with lying(serving, await join_and_go(serving, "web-1", "web")) as liar:
        await told(serving, "rotate")

        async def waits_for_it() -> bool:
            return [each.connected for each in (await get_ca(serving.data)).lagging] == [True]

        await eventually(waits_for_it, "the rotation waits for the liar")
        document = web.document()
        document["spec"]["serviceAccount"] = "web-2"
        serving.write("web.yaml", a_service_document("web"), document)

        async def refused() -> bool:
            return grpc.StatusCode.UNAUTHENTICATED in liar.ends

        await eventually(refused, "its stream is ended")
        assert (await ca(serving, "forget", "default/web-1"))[0] == 0
        await eventually(lambda: stable(serving), "stable")


async def test_who_has_gone_is_waited_for_until_its_certificate_has_ended(tmp_path: Path) -> None:
    async with Mesh(tmp_path, certificate_lifetime="6s") as mesh:
        await mesh.serve()
        await join_and_go(mesh, "gone-1")
        (lag,) = (await told(mesh, "rotate"))["lagging"]
        await eventually(lambda: stable(mesh), "stable")
        ended = (await told(mesh, "status"))["since"]
        assert ended > lag["until"]
