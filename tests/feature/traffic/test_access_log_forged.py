"""AccessLog and Tracing, where a caller lies: a line that explains a refusal has the path that was refused, and who called."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp

from tests.feature.traffic.test_access_log import read_lines
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.ports import LOOPBACK
from tests.support.processes import eventually
from tests.support.traffic.draining import drained
from tests.support.traffic.routes import route, to
from tests.support.traffic.tracing import hurry
from tests.support.traffic.world import Traffic

ELSEWHERE = "127.0.0.77"
"""Where the caller's connection comes from."""
LIES = {"x-envoy-original-path": "/harmless", "x-forwarded-for": "6.6.6.6"}


def policies(log: Path, collector: str) -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: AccessLog
metadata: {{name: log}}
spec: {{targetRefs: [{{kind: Mesh}}], file: {log}}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Tracing
metadata: {{name: traces}}
spec: {{targetRefs: [{{kind: Service, name: api}}], otlp: "{collector}", sampling: 100}}
---
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: secret}}
spec: {{targetRefs: [{{kind: Service, name: api}}], action: deny, rules: [{{to: [{{paths: [/secret]}}]}}]}}
"""


async def past_its_own_sidecar(traffic: Traffic, path: str, headers: dict[str, str]) -> int:
    """The status that api answers to who has the keys of web, and needs no proxy to use them."""
    folder = traffic.world.folder / "web-1-agent" / "identity" / "current"
    context = ssl.create_default_context(cafile=str(folder / "roots.pem"))
    context.check_hostname = False
    await asyncio.to_thread(context.load_cert_chain, folder / "chain.pem", folder / "key.pem")
    port = traffic.member("api-1").sidecar_ports["http"]
    connector = aiohttp.TCPConnector(local_addr=(ELSEWHERE, 0), force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        asked = session.get(
            f"https://{LOOPBACK}:{port}{path}",
            headers={"host": "api.mesh", **headers},
            ssl=context,
            server_hostname="80.api.default.mesh.local",
        )
        async with asked as answer:
            return answer.status


async def the_lines(path: Path, *wanted: tuple[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    """By request id and side, once all that are `wanted` are there: each sidecar writes its own, when it likes."""

    async def there() -> dict[tuple[str, str], dict[str, Any]]:
        by = {(each.get("request_id", ""), each["side"]): each for each in read_lines(path)}
        assert set(wanted) <= set(by), by
        return by

    return await eventually(there, "the lines", patience=15)


async def test_a_line_has_the_path_that_was_refused_and_the_direct_peer(
    traffic: Traffic, tmp_path: Path
) -> None:
    path = tmp_path / "forged.log"
    await hurry(traffic, *traffic.world.sidecars)
    async with OtlpReceiver() as receiver, traffic.apply(policies(path, receiver.address)):
        await drained(traffic)
        assert await past_its_own_sidecar(traffic, "/secret", {**LIES, "x-request-id": "direct"}) == 403
        answer = await traffic.get("http://api.mesh/secret", headers={**LIES, "x-request-id": "by-proxy"})
        assert answer.status == 403
        by = await the_lines(path, ("direct", "callee"), ("by-proxy", "caller"), ("by-proxy", "callee"))

        # Neither of these is traced: their ids are no UUIDs.
        assert await past_its_own_sidecar(traffic, "/secret", LIES) == 403
        assert (await traffic.get("http://api.mesh/secret", headers=LIES)).status == 403

        async def traced() -> list[str]:
            found = [each.attributes["http.url"] for each in receiver.spans]
            assert len(found) >= 2, found
            return found

        urls = await eventually(traced, "the spans", patience=15)
    line = by["direct", "callee"]
    assert (line["path"], line["client"].partition(":")[0]) == ("/secret", ELSEWHERE)
    assert line["policy"] == "default/secret"
    assert {by["by-proxy", side]["path"] for side in ("caller", "callee")} == {"/secret"}
    assert {by["by-proxy", side]["client"].partition(":")[0] for side in ("caller", "callee")} == {LOOPBACK}
    assert {each.partition("api.mesh")[2] for each in urls} == {"/secret"}


async def test_a_path_that_the_mesh_itself_rewrites_is_still_there(traffic: Traffic, tmp_path: Path) -> None:
    path = tmp_path / "rewritten.log"
    rewrite = (
        "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]\n"
        f"backendRefs: [{to('api')}]"
    )
    async with traffic.apply(f"{policies(path, '127.0.0.1:9')}{route(rewrite)}"):
        await drained(traffic)
        answer = await traffic.get("http://api.mesh/old", headers={**LIES, "x-request-id": "rewritten"})
        assert (answer.status, answer.json["path"]) == (200, "/new")
        by = await the_lines(path, ("rewritten", "caller"), ("rewritten", "callee"))
    assert by["rewritten", "caller"]["path"] == "/old", "what was asked"
    assert by["rewritten", "callee"]["path"] == "/new", "what its policies went by"
