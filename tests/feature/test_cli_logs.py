"""`meshwright logs PROXY --follow`: a proxy reports what it handles for as long as somebody looks, and `top` counts it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually, meshwright, start
from tests.support.terminal import Terminal

TAKEN = 'meshwright_access_log_entries_total{outcome="taken"}'


async def told(mesh: Mesh, *arguments: str, code: int = 0) -> str:
    log = mesh.folder / "told.log"
    log.unlink(missing_ok=True)
    ran = await start("told", mesh.folder, *meshwright(*arguments, "--data-dir", str(mesh.data)))
    assert await ran.process.wait() == code, ran.text()
    return ran.text()


@contextlib.asynccontextmanager
async def busy(mesh: Mesh) -> AsyncIterator[Load]:
    """web calls api, over and over."""
    web, api = Instance("web", "web-1", uses=("api",), calls="api"), Instance("api", "api-1")
    for each in (web, api):
        mesh.write_service(each.service, each)
    await mesh.serve()
    await mesh.up(web, api)
    url = f"http://{web.address}:{web.outbound_port}/orders?card=4111"
    async with Load(url, "api.mesh", workers=1) as load:
        yield load
    assert load.failures == []


TRIAL = {
    "apiVersion": "meshwright.dev/v1alpha1",
    "kind": "AccessPolicy",
    "metadata": {"name": "trial"},
    "spec": {
        "targetRefs": [{"kind": "Service", "name": "api"}],
        "action": "deny",
        "dryRun": True,
        "rules": [{}],
    },
}


def following(mesh: Mesh, proxy: str = "web-1") -> Terminal:
    return Terminal(*meshwright("logs", proxy, "--follow", "--data-dir", str(mesh.data)), columns=200)


async def test_a_proxy_reports_while_its_log_is_followed(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(mesh):
        assert "--follow lets it" in await told(mesh, "logs", "web-1")
        monkeypatch.setenv("EDITOR", "/nowhere/vi")  # which is not even opened for a document of a file
        assert "is read-only: it is of api.yaml" in await told(mesh, "edit", "svc", "api", code=3)
        with following(mesh) as terminal:
            shown = await asyncio.to_thread(terminal.wait_for, "GET api.mesh/orders 200")
            assert "calls" in shown
            assert "4111" not in shown
            (first, *_) = json.loads(await told(mesh, "top", "-o", "json"))
            assert (first["proxy"], first["measured"], first["errors"]) == ("default/web-1", True, 0.0)
            assert first["requestsPerSecond"] > 0
            # Nobody else reports.
            assert "--follow lets it" in await told(mesh, "logs", "api-1")
        mesh.write("trial.yaml", TRIAL)
        with following(mesh, "api-1") as terminal:
            shown = await asyncio.to_thread(terminal.wait_for, "would_refuse=default/trial")
            assert "caller=spiffe://" in shown


@pytest.mark.heavy
async def test_a_proxy_reports_no_longer_when_nobody_looks(mesh: Mesh) -> None:
    async with busy(mesh) as load:
        with following(mesh) as terminal:
            await asyncio.to_thread(terminal.wait_for, "GET api.mesh/orders 200")

        async def silent() -> bool:
            number = await mesh.metric(TAKEN)
            assert number > 0
            await load.more(400)
            return number == await mesh.metric(TAKEN)

        await eventually(silent, "the proxy reports no longer")
