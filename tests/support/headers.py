"""The headers of an answer that one workload gets from another, through its sidecar."""

from __future__ import annotations

import aiohttp

from tests.support.mesh import Instance


async def headers(caller: Instance, host: str) -> dict[str, str]:
    url = f"http://{caller.address}:{caller.outbound_port}/"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": host}) as answer:
        assert answer.status == 200, await answer.text()
        return dict(answer.headers)
