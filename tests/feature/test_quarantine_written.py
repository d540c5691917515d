"""A document that Envoy refuses, written by a person on the command line: what they are told, and that the corrected one ends it."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.mesh import Instance, Mesh
from tests.support.poisons import Poison, poisons
from tests.support.processes import eventually, meshwright, start


async def test_who_writes_it_is_told_and_the_store_has_what_was_before(tmp_path: Path) -> None:
    api, web = Instance("api", "api-1"), Instance("web", "web-1", uses=("api",))
    poison = poisons(api)[5]
    async with Mesh(tmp_path) as mesh:
        mesh.write_service("api", api)
        mesh.write_service("web", web)
        await mesh.serve()
        await mesh.up(api, web)
        assert (await applied(mesh, poison, good=True))[0] == 0
        code, said = await applied(mesh, poison, good=False)
        assert code == 1
        assert "default/web-1 refuses RouteConfiguration default/api" in said
        assert poison.says in said

        async def set_aside() -> bool:
            code, said = await command(mesh, "quarantine", "list")
            return code == 0 and "all of envoy 1.40" in said and "earlier revision" in said

        await eventually(set_aside, "it is set aside for all, and its earlier revision is in force")
        assert "Quarantined" in (await command(mesh, "get", "envoypatch"))[1]
        assert (await applied(mesh, poison, good=True))[0] == 0
        assert "nothing is in quarantine" in (await command(mesh, "quarantine", "list"))[1]


async def applied(mesh: Mesh, poison: Poison, *, good: bool) -> tuple[int, str]:
    file = mesh.folder / "written.yaml"
    file.write_text(yaml.safe_dump(poison.document(poison.good if good else poison.bad)))
    return await command(mesh, "apply", "-f", str(file), "--wait")


async def command(mesh: Mesh, *said: str) -> tuple[int, str]:
    """The exit code, and what is printed."""
    process = await start("command", mesh.folder, *meshwright(*said, "--data-dir", str(mesh.data)))
    code, text = await process.process.wait(), process.text()
    process.log.unlink()
    return code, text
