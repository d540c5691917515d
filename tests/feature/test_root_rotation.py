"""The root is rotated under load: nobody is shut out, whoever is silent is named, and a control plane that was killed goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.trust_mesh import TrustMesh, a_trust_mesh

SILENT = {"default/crowd-0"}


async def roots(mesh: TrustMesh) -> list[str]:
    return [each.sha256 for each in (await mesh.status()).roots]


async def turned_back_at_each_step(mesh: TrustMesh) -> None:
    before, bundle = await roots(mesh), (mesh.mesh.data / "roots.pem").read_bytes()

    async def turn_back() -> None:
        assert (await mesh.command("abort")).aborting
        await mesh.until("stable")
        assert await roots(mesh) == before
        assert (mesh.mesh.data / "roots.pem").read_bytes() == bundle
        await mesh.more()
        mesh.check()

    assert (await mesh.rotate(by_hand=True)).stage == "trusting"
    await turn_back()
    await mesh.rotate(by_hand=True)
    await mesh.until("trusting", lagging=set())
    await mesh.command("proceed")
    await mesh.until("signing", lagging=set())
    await turn_back()
    await mesh.rotate(by_hand=True)
    await mesh.until("trusting", lagging=set())
    await mesh.command("proceed")
    await mesh.until("signing", lagging=set())
    await mesh.crowd.silence()
    await mesh.command("proceed")
    await mesh.until("retiring", lagging=SILENT)
    assert len(await roots(mesh)) == 1
    await mesh.crowd.speak()
    await turn_back()


async def killed_at_each_step(mesh: TrustMesh) -> None:
    before = await roots(mesh)
    await mesh.crowd.silence()
    await mesh.rotate(by_hand=True)
    for stage in ("trusting", "signing", "retiring"):
        waiting = await mesh.until(stage, lagging=SILENT, holders={"envoy"})
        assert all(each.since and each.until and each.lacks for each in waiting.lagging)
        await mesh.killed()
        await mesh.until(stage, lagging=SILENT)  # all others have come back and answered
        await mesh.more()
        await mesh.crowd.speak()
        if stage != "retiring":
            await mesh.until(stage, lagging=set())
            await mesh.crowd.silence()
            await mesh.command("proceed")
    await mesh.until("stable")
    after = await roots(mesh)
    assert len(after) == 1
    assert after != before
    await mesh.more()
    mesh.check()


async def through(mesh: TrustMesh) -> float:
    """Without anybody's help; the seconds that it takes."""
    before, began = await roots(mesh), time.monotonic()
    await mesh.rotate()
    await mesh.until("stable")
    assert await roots(mesh) != before
    await mesh.more()
    mesh.check()
    return time.monotonic() - began


@pytest.mark.timeout(240)  # some 25 s on an idle machine
async def test_from_root_to_root_and_back(tmp_path: Path) -> None:
    async with a_trust_mesh(tmp_path, pairs=2, crowd=30) as mesh:
        await turned_back_at_each_step(mesh)
        await killed_at_each_step(mesh)
        assert mesh.check() > 200


@pytest.mark.heavy
@pytest.mark.timeout(900)
async def test_with_20_real_and_500_simulated_proxies(tmp_path: Path) -> None:
    began = time.monotonic()
    async with a_trust_mesh(tmp_path, pairs=10, crowd=500, workers=1, pause=0.05) as mesh:
        print(f"up after {time.monotonic() - began:.1f} s")
        print(f"through by itself in {await through(mesh):.1f} s")
        began = time.monotonic()
        await turned_back_at_each_step(mesh)
        print(f"turned back at each of three steps in {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        await killed_at_each_step(mesh)
        print(f"killed at each of three steps, and through, in {time.monotonic() - began:.1f} s")
        print(f"{mesh.check()} requests, none failed; {mesh.crowd.said['leaves']} leaves in the crowd")
