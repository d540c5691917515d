"""`meshwright analyze` on a running control plane, and over a directory alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from meshwright.data_dir import SOCKET
from tests.support.mesh import Mesh, a_document, a_service_document
from tests.support.processes import eventually, meshwright


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *meshwright("analyze", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def findings(mesh: Mesh, **query: str) -> dict[str, list[dict[str, Any]]]:
    """By code."""
    connector = aiohttp.UnixConnector(str(mesh.data / SOCKET))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://control-plane/api/v1/analyze", params=query) as answer,
    ):
        assert answer.status == 200, await answer.text()
        told = await answer.json()
    found: dict[str, list[dict[str, Any]]] = {}
    for each in told["findings"]:
        found.setdefault(each["code"], []).append(each)
    return found


async def test_what_is_wrong_in_documents_and_at_proxies_is_found_live(mesh: Mesh) -> None:
    ports = [{"name": "http", "app": 9000, "sidecar": 15101}]
    api = a_document(
        "Workload",
        "api-1",
        {"services": ["api"], "address": "127.0.0.1", "ports": ports, "meshed": True, "uses": []},
    )
    route = {
        **a_document("HTTPRoute", "api", {}),
        "apiVersion": "gateway.networking.k8s.io/v1",
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "api"}],
            "rules": [{"backendRefs": [{"name": "apo", "port": 80}]}],
        },
    }
    mesh.write("api.yaml", a_service_document("api"), api, route)
    (mesh.documents / "bad.yaml").write_text("kind: [\n")
    await mesh.serve()
    found = await findings(mesh, severity="warning")
    assert [each["subject"] for each in found["MW0504"]] == ["Workload default/api-1"]
    assert [each["subject"] for each in found["MW0204"]] == ["HTTPRoute default/api"]
    assert found["MW0204"][0]["documents"] == ["api.yaml#3 HTTPRoute default/api"]
    assert "bad.yaml" in found["MW0510"][0]["message"]
    assert "MW0111" not in found, "info is not asked for"
    assert set(await findings(mesh, code="MW01")) >= {"MW0111"}
    data = ("--data-dir", str(mesh.data))
    code, output, _ = await run(*data, "--check", "--explain", "--severity", "error")
    assert code == 1
    assert "What to do: Start `meshwright proxy` beside it" in " ".join(output.split())
    code, _, errors = await run(*data, "--code", "MW77")
    assert code == 4
    assert "docs/analyze.md has all" in " ".join(errors.split())

    (mesh.documents / "bad.yaml").unlink()
    mesh.write("api.yaml", a_service_document("api"), {**api, "spec": {**api["spec"], "meshed": False}})

    async def mended() -> bool:
        return not await findings(mesh, severity="error")

    await eventually(mended, "no error is left")

    # The same over the directory, without a control plane.
    mesh.write("api.yaml", a_service_document("api"))
    _, output, _ = await run("--documents", str(mesh.documents), "-o", "json")
    assert {each["code"] for each in json.loads(output)["findings"]} == {"MW0101"}
    code, _, errors = await run("--documents", str(mesh.documents), "--code", "MW77")
    assert (code, "no check has a code" in errors) == (2, True)
