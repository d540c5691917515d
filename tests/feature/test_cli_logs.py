"""`meshwright logs PROXY --follow`: a proxy reports what it handles for as long as somebody looks, and `top` counts it."""

from __future__ import annotations

import asyncio
import json

from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually, meshwright, start
from tests.support.terminal import Terminal


async def told(mesh: Mesh, *arguments: str) -> str:
    log = mesh.folder / "told.log"
    log.unlink(missing_ok=True)
    ran = await start("told", mesh.folder, *meshwright(*arguments, "--data-dir", str(mesh.data)))
    assert await ran.process.wait() == 0, ran.text()
    return ran.text()


async def test_a_proxy_reports_while_its_log_is_followed(mesh: Mesh) -> None:
    web, api = Instance("web", "web-1", uses=("api",), calls="api"), Instance("api", "api-1")
    for each in (web, api):
        mesh.write_service(each.service, each)
    await mesh.serve()
    await mesh.up(web, api)
    assert "--follow lets it" in await told(mesh, "logs", "web-1")
    url = f"http://{web.address}:{web.outbound_port}/orders?card=4111"
    async with Load(url, "api.mesh", workers=1) as load:
        follow = ("logs", "web-1", "--follow", "--data-dir", str(mesh.data))
        with Terminal(*meshwright(*follow), columns=200) as terminal:
            shown = await asyncio.to_thread(terminal.wait_for, "GET api.mesh/orders 200")
            assert "calls" in shown
            assert "4111" not in shown
            (busy, *_) = json.loads(await told(mesh, "top", "-o", "json"))
            assert (busy["proxy"], busy["measured"], busy["errors"]) == ("default/web-1", True, 0.0)
            assert busy["requestsPerSecond"] > 0
            # Nobody else reports.
            assert "--follow lets it" in await told(mesh, "logs", "api-1")
        before = await mesh.metric('meshwright_access_log_entries_total{outcome="taken"}')
        assert before > 0

        async def silent() -> bool:
            """Some seconds after nobody looks any more."""
            number = await mesh.metric('meshwright_access_log_entries_total{outcome="taken"}')
            await load.more(100)
            return number == await mesh.metric('meshwright_access_log_entries_total{outcome="taken"}')

        await eventually(silent, "the proxy reports no longer")
    assert load.failures == []
