"""Calls without mesh TLS, and the policies that say who takes them."""

from __future__ import annotations

from dataclasses import dataclass, field

import aiohttp

from tests.support.ports import LOOPBACK

ELSEWHERE = "127.0.0.77"
"""An address that no workload of the mesh has."""


def policy(target: str, said: str, name: str = "p") -> str:
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {{name: {name}}}
spec: {{targetRefs: [{target}], {said}}}
"""


STORE = "{kind: Service, name: store}"
TCP = "{kind: Service, name: tcp}"


@dataclass(slots=True)
class Plaintext:
    """A caller without a sidecar, on `address`: one connection a request. What became of each is in `statuses`; 0 is no answer."""

    port: int
    address: str = ELSEWHERE
    statuses: list[int] = field(default_factory=list)

    async def get(self, headers: dict[str, str] | None = None) -> dict[str, object]:
        """What the server saw; nothing if it was not asked."""
        connector = aiohttp.TCPConnector(local_addr=(self.address, 0), force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                async with session.get(f"http://{LOOPBACK}:{self.port}/", headers=headers) as answer:
                    self.statuses.append(answer.status)
                    seen: dict[str, object] = await answer.json() if answer.status == 200 else {}
                    return seen
            except aiohttp.ClientError:
                self.statuses.append(0)
                return {}
