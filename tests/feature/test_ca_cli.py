"""`meshwright ca` against a running control plane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.identity_store import IdentityStore
from agent.renew import CertificateKeeper, Membership, TokenSource
from ca.times import system_clock
from ca.tokens import TokenStore
from mesh.names import Key
from meshwright.client import get_ca
from tests.support.ca_builders import no_chance
from tests.support.ca_logs import Recorded
from tests.support.mesh import LOOPBACK, Mesh
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


async def join_and_go(mesh: Mesh, name: str) -> None:
    """A proxy that joins and is never seen again."""
    membership = Membership(
        workload=Key("default", name),
        trust_domain="mesh.local",
        join_address=f"{LOOPBACK}:{mesh.join_port}",
        renew_address=f"{LOOPBACK}:{mesh.xds_port}",
        bundle=mesh.data / "roots.pem",
        tokens=TokenSource(TokenStore(mesh.data).create("default", "gone", now=system_clock())),
    )
    store, log = IdentityStore(mesh.folder / name), Recorded().logger()
    await CertificateKeeper(membership, store, clock=system_clock, chance=no_chance, log=log).obtain()


async def stable(mesh: Mesh) -> bool:
    return (await get_ca(mesh.data)).stage == "stable"


async def test_a_rotation_from_the_command_line(serving: Mesh) -> None:
    before = await told(serving, "status")
    assert (before["stage"], before["lagging"], before["warnings"]) == ("stable", [], [])
    assert [root["signs"] for root in before["roots"]] == [True]
    begun = await told(serving, "rotate", "--by-hand")
    assert (begun["stage"], len(begun["roots"]), begun["awaits_operator"]) == ("trusting", 2, True)
    code, text = await ca(serving, "status", "--check")
    assert code == 1
    assert "meshwright ca proceed" in text
    assert "trusting" in text
    code, text = await ca(serving, "rotate")
    assert code == 1
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
        assert (code, text.startswith("meshwright: ")) == (1, True), text
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
    assert await serving.metric("meshwright_ca_rotation_lagging") == 1
    assert (await ca(serving, "forget", "default/gone-1"))[0] == 0
    await eventually(lambda: stable(serving), "stable")


async def test_who_has_gone_is_waited_for_until_its_certificate_has_ended(tmp_path: Path) -> None:
    async with Mesh(tmp_path, certificate_lifetime="6s") as mesh:
        await mesh.serve()
        await join_and_go(mesh, "gone-1")
        (lag,) = (await told(mesh, "rotate"))["lagging"]
        await eventually(lambda: stable(mesh), "stable")
        ended = (await told(mesh, "status"))["since"]
        assert ended > lag["until"]
