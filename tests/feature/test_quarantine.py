"""Ten kinds of resources, and one more, that real Envoys refuse although they are valid messages: each leads to its document, everything
else still lands, and a corrected document is in force by itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.headers import headers
from tests.support.mesh import Instance, Mesh
from tests.support.poisons import Poison, of_routes, poisons
from tests.support.processes import eventually


def header(value: str) -> dict[str, object]:
    """Another change of the same resource: callers of api find `value` in answers."""
    other = of_routes({"responseHeadersToAdd": [{"header": {"key": "x-other", "value": value}}]}, "")
    return other.document(other.bad, "other")


async def in_sync(mesh: Mesh) -> bool:
    return all(
        each.in_sync and not each.refused for proxy in (await mesh.status()).proxies for each in proxy.types
    )


@pytest.mark.timeout(300)
async def test_each_leads_to_its_document_and_all_else_goes_on(tmp_path: Path) -> None:
    api, web = Instance("api", "api-1"), Instance("web", "web-1", uses=("api",))
    every = poisons(api)
    assert len({each.says for each in every}) == len(every) >= 10
    async with Mesh(tmp_path) as mesh:
        mesh.write_service("api", api)
        mesh.write_service("web", web)
        server = await mesh.serve()
        await mesh.up(api, web)
        for number, poison in enumerate(every):
            await refused_and_corrected(mesh, web, poison, number)
        log = [json.loads(line) for line in server.text().splitlines() if line.startswith("{")]
        said = [each["event"] for each in log if each["event"].startswith("document")]
        assert said.count("document quarantined") == len(every), "once each"
        assert said.count("document quarantined for all proxies of a version") == sum(
            each.shown for each in every
        )
        audit = (mesh.data / "audit.log").read_text()
        assert "document quarantined" in audit


async def refused_and_corrected(mesh: Mesh, web: Instance, poison: Poison, number: int) -> None:
    document = f"{poison.kind} default/poison"
    mesh.write("poison.yaml", poison.document(poison.bad))

    async def told() -> str | None:
        found = (await mesh.status()).problems.get(f"{document} at envoy 1.40", "")
        whom = "all proxies of envoy 1.40" if poison.shown else ""
        return found if f"set aside for {whom}" in found else None

    why = await eventually(told, f"{poison.says}: the document is told", mesh.server)  # type: ignore[arg-type]
    assert poison.resource in why
    assert poison.says in why
    assert "poison.yaml#1" in why
    of = "all" if poison.shown else "some"
    assert await mesh.metric(f'meshwright_quarantined_documents{{for="{of}"}}') == 1

    # A later change of the same resources lands, with the poison still there.
    mesh.write("other.yaml", header(f"v{number}"))

    async def landed() -> bool:
        return (await headers(web, "api.mesh")).get("x-other") == f"v{number}"

    await eventually(landed, f"{poison.says}: another change lands")
    await eventually(lambda: in_sync(mesh), "nobody refuses anything any more")

    mesh.write("poison.yaml", poison.document(poison.good))

    async def corrected() -> bool:
        status = await mesh.status()
        return f"{document} at envoy 1.40" not in status.problems and await in_sync(mesh)

    await eventually(corrected, f"{poison.says}: corrected")
    if poison.resource.startswith("Route") and poison.kind == "EnvoyPatch":

        async def in_force() -> bool:
            return (await headers(web, "api.mesh")).get("x-corrected") == "yes"

        await eventually(in_force, "the corrected document is in force")
    assert await mesh.metric('meshwright_quarantined_documents{for="all"}') == 0
