"""The examples as their README says to run them, on ports that are free."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import aiohttp

from tests.support import binaries
from tests.support.ports import free_ports
from tests.support.processes import eventually, meshwright, running

PORT = re.compile(r"\b(?:900\d|15[012][01]\d)\b")


def a_copy(folder: Path) -> dict[str, int]:
    """`examples/` in `folder`, each port in it replaced by a free one; which by which."""
    shutil.copytree(binaries.ROOT / "examples", folder / "examples")
    (folder / "meshwright").symlink_to(binaries.ROOT / "meshwright")
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("python3", "meshwright"):
        (folder / ".venv" / "bin" / name).symlink_to(Path(sys.executable).with_name(name))
    texts = {path: path.read_text() for path in (folder / "examples").rglob("*") if path.is_file()}
    found = sorted(
        {port for path, text in texts.items() if path.suffix != ".md" for port in PORT.findall(text)}
    )
    ports = dict(zip(found, free_ports(len(found)), strict=True))
    for path, text in texts.items():
        path.write_text(PORT.sub(lambda match: str(ports.get(match[0], match[0])), text))
    return ports


async def test_the_mesh_of_the_examples_runs_by_its_script(tmp_path: Path) -> None:
    ports = await asyncio.to_thread(a_copy, tmp_path)
    script = str(tmp_path / "examples" / "run.sh")
    env = {**os.environ, "ENVOY_BIN": str(await asyncio.to_thread(binaries.envoy))}
    async with running("early", tmp_path, script, env=env) as early:
        assert await asyncio.wait_for(early.process.wait(), 20) == 1
        assert "start the control plane first" in early.text()
    (admin,) = free_ports(1)
    serve = meshwright(
        *("serve", "--documents", str(tmp_path / "examples" / "mesh")),
        *("--data-dir", str(tmp_path / "build" / "example")),
        *("--xds-address", f"127.0.0.1:{ports['15010']}", "--join-address", f"127.0.0.1:{ports['15011']}"),
        *("--admin-address", f"127.0.0.1:{admin}", "--api-address", "127.0.0.1:0"),
    )
    async with running("serve", tmp_path, *serve, env=env) as server:

        async def ready() -> bool:
            return (tmp_path / "build" / "example" / "roots.pem").exists()

        await eventually(ready, "the control plane is up", server)
        async with running("run", tmp_path, script, env=env) as mesh:

            async def answers() -> bool:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://127.0.0.1:{ports['9001']}/") as answer,
                ):
                    hops = json.loads(await answer.text())
                return bool(hops.get("next", {}).get("next", {}).get("service") == "store")

            await eventually(answers, "web calls api calls store", mesh)
            assert await mesh.stop() == 0
        for workload in ("store-1", "api-1", "api-2", "web-1"):
            log = (tmp_path / "build" / "run" / f"{workload}-sidecar.log").read_text()
            assert "envoy stopped" in log
