"""Two control planes over one store in a real Consul: each waits for the proxies of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.consul_agent import ConsulAgent
from tests.support.crowds import a_crowd
from tests.support.mesh import Mesh, a_document, a_service_document
from tests.support.processes import eventually
from tests.support.revisions import apply, run, waited

HERE, THERE = 3, 2
STUCK = f"default/crowd-{HERE + THERE} (plaintext)"


async def without_proxy(mesh: Mesh) -> tuple[int, bool]:
    """How many proxies `analyze` misses, and whether it says that it does not see all."""
    code, output, errors = await run(mesh, "analyze", "--code", "MW0504", "-o", "json")
    assert code == 0, errors
    return len(json.loads(output)["findings"]), "this is one of 2 replicas" in " ".join(errors.split())


@pytest.mark.timeout(180)
async def test_a_revision_is_waited_for_at_both(tmp_path: Path) -> None:
    workloads = [
        a_document("Workload", f"crowd-{number}", {"address": "127.0.0.1", "meshed": True, "uses": ["api"]})
        for number in range(HERE + THERE + 1)
    ]
    api = a_document(
        "Workload",
        "api-1",
        {"services": ["api"], "address": "127.0.0.1", "ports": [{"name": "http", "app": 9000}]},
    )
    documents = yaml.safe_dump_all([a_service_document("api"), api, *workloads])
    async with ConsulAgent() as consul:
        store = f"consul:{consul.address}"
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        async with Mesh(tmp_path / "one", store=store) as one, Mesh(tmp_path / "two", store=store) as two:
            await one.serve()
            await two.serve()
            code, _, errors = await run(one, "apply", "-f", "-", given=documents)
            assert code == 0, errors
            async with (
                a_crowd(tmp_path, one, "here", {"honest": HERE}),
                a_crowd(tmp_path, two, "there", {"honest": THERE}, first=HERE),
            ):

                async def both_know() -> bool:
                    replicas = (await one.status()).replicas
                    return sorted(each.proxies for each in replicas) == sorted((HERE, THERE))

                await eventually(both_know, "each knows of the other and of its proxies")
                assert await without_proxy(one) == (0, True), "they may be at the other, and that is said"
                code, revision, errors = await apply(one, 7, "--wait", "--timeout", "60s")
                assert code == 0, errors
                assert f"acknowledged by all proxies ({HERE + THERE})" in errors
                async with a_crowd(tmp_path, two, "stuck", {"silent": 1}, first=HERE + THERE):

                    async def here() -> bool:
                        return len((await two.status()).proxies) == THERE + 1

                    await eventually(here, "the stuck one is connected to the other")
                    _, revision, _ = await apply(one, 8)

                    async def waits_for_it() -> bool:
                        code, found = await waited(one, revision, "2s")
                        behind = [(each["proxy"], bool(each["replica"])) for each in found["behind"]]
                        return (code, behind, found["replicas"]) == (7, [(STUCK, True)], 2)

                    await eventually(waits_for_it, "who is stuck at the other is named")
                assert (await waited(one, revision, "60s"))[0] == 0

                # What one was asked to give to some first, the other gives to some of its own first.
                code, _, errors = await apply(one, 9, "--stage", "50%,100%", "--bake", "10m")
                assert code == 0, errors
                for each in (one, two):

                    async def staged(by: Mesh = each) -> bool:
                        _, output, _ = await run(by, "rollout", "list", "-o", "json")
                        return "TimeoutPolicy default/api" in output

                    await eventually(staged, "both stage it")

                # Who stops takes back what it said, so that nobody waits for it.
                assert two.server is not None
                await two.server.stop()

                async def alone() -> bool:
                    _, found = await waited(one, revision, "1s")
                    return bool(found["replicas"] == 1)

                await eventually(alone, "the other has gone")

                async def missed() -> bool:
                    return await without_proxy(one) == (THERE + 1, False)

                await eventually(missed, "who was connected to the other is missed")
