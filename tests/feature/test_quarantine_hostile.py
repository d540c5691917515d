"""Simulated proxies that refuse everything, beside a real sidecar, which notices nothing."""

from __future__ import annotations

from pathlib import Path

from tests.support.crowds import a_crowd
from tests.support.headers import headers
from tests.support.mesh import Instance, Mesh, a_document, a_service_document
from tests.support.poisons import of_routes
from tests.support.processes import eventually

HOSTILE, SERVICES = 3, 12


async def test_one_that_refuses_everything_rolls_back_nobody_else(tmp_path: Path) -> None:
    api, web = Instance("api", "api-1"), Instance("web", "web-1", uses=("api",))
    other = of_routes({"responseHeadersToAdd": [{"header": {"key": "x-other", "value": "yes"}}]}, "")
    async with Mesh(tmp_path) as mesh:
        mesh.write_service("api", api)
        mesh.write_service("web", web)
        mesh.write("more.yaml", *(a_service_document(f"more-{number}") for number in range(SERVICES)))
        crowd = [a_document("Workload", f"crowd-{n}", {"address": "127.0.0.1"}) for n in range(HOSTILE)]
        mesh.write("crowd.yaml", *crowd)
        await mesh.serve()
        await mesh.up(api, web)
        async with a_crowd(tmp_path, mesh, "hostile", {"nacking": HOSTILE}) as foes:

            async def told() -> bool:
                problems = (await mesh.status()).problems
                return all(
                    "refuses so much" in problems.get(f"proxy default/crowd-{n} (plaintext)", "")
                    for n in range(HOSTILE)
                )

            await eventually(told, "they are told of", foes)
            mesh.write("other.yaml", other.document(other.bad, "other"))

            async def arrived() -> bool:
                return (await headers(web, "api.mesh")).get("x-other") == "yes"

            await eventually(arrived, "a change reaches the sidecar", foes)
            assert await mesh.metric('meshwright_quarantined_documents{for="all"}') == 0
            status = await mesh.status()
            (sidecar,) = [each for each in status.proxies if each.proxy == "default/web-1"]
            assert all(each.refused is None and not each.held_back for each in sidecar.types)
