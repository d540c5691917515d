"""`meshwright ca` against a running control plane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meshwright.client import get_ca
from tests.support.mesh import Mesh
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
    code, text = await ca(serving, "rotate")
    assert code == 1
    assert "meshwright ca abort" in text
    await eventually(lambda: stable(serving), "stable")
    after = await told(serving, "status")
    assert after["roots"] == before["roots"]
    assert after["generation"] == before["generation"] + 1
