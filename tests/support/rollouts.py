"""A small mesh for staged rollouts: `api` with one sidecar, and callers of it, of which one is in the first stage."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesh.names import Key
from mesh.rollout import point
from tests.support.api import Api
from tests.support.mesh import LOOPBACK, Instance, Load, Mesh, a_document, a_service_document
from tests.support.processes import eventually

ON = {"acknowledging", "baking"}
CALLERS = 2


def a_route(backend: str) -> dict[str, Any]:
    """What is asked of api goes to `backend`."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "api"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "api"}],
            "rules": [{"backendRefs": [{"name": backend, "port": 80}]}],
        },
    }


def a_policy_of_api(kind: str, **fields: Any) -> dict[str, Any]:
    return a_document(kind, "api", {"targetRefs": [{"kind": "Service", "name": "api"}], **fields})


class Shop:
    """`first` is the caller that a stage of 30 percent has, `others` those that it has not. `dead` is a service of nobody."""

    def __init__(self, folder: Path, callers: int = CALLERS) -> None:
        self.mesh = Mesh(folder)
        self.api = Instance("api", "api-1")
        webs = [Instance("web", f"web-{number}", uses=("api",)) for number in range(1, callers + 1)]
        webs.sort(key=lambda each: point(Key("default", each.name)))
        self.first, *self.others = self.webs = webs
        self.call = Api(self.mesh.data)

    async def up(self) -> None:
        self.mesh.write_service("api", self.api)
        self.mesh.write_service("web", *self.webs)
        self.mesh.write("dead.yaml", a_service_document("dead"))
        await self.mesh.serve()
        await asyncio.gather(
            self.mesh.app(self.api), self.mesh.sidecar(self.api), *(map(self.mesh.sidecar, self.webs))
        )

    def load(self, caller: Instance, pause: float = 0.02) -> Load:
        return Load(f"http://{LOOPBACK}:{caller.outbound_port}/", "api.mesh", workers=3, pause=pause)

    async def write(
        self,
        *documents: Mapping[str, Any],
        stage: str | None = None,
        bake: str = "1s",
        delete: Sequence[str] = (),
    ) -> int:
        """The revision. `delete`: kinds of documents named api."""
        body = {
            "documents": list(documents),
            "delete": [{"kind": kind, "name": "api"} for kind in delete],
            **({"stage": stage, "bake": bake} if stage else {}),
        }
        answer = await self.call("POST", "/api/v1/batch", body)
        assert answer.status == 200, answer
        return int(answer.json["revision"])

    async def rollouts(self) -> list[dict[str, Any]]:
        """The newest first."""
        answer = await self.call("GET", "/api/v1/rollouts")
        assert answer.status == 200, answer
        return list(answer.json["items"])

    async def newest(self, known: int) -> dict[str, Any]:
        """The one that began when there were `known` of them."""

        async def begun() -> dict[str, Any] | None:
            found = await self.rollouts()
            return found[0] if len(found) > known else None

        return await eventually(begun, "a rollout begins")

    async def rollout(self, name: str) -> dict[str, Any]:
        answer = await self.call("GET", f"/api/v1/rollouts/{name}")
        assert answer.status == 200, answer
        return dict(answer.json)

    async def becomes(self, name: str, **fields: Any) -> dict[str, Any]:
        """The rollout, once it has all of `fields`."""

        async def has() -> dict[str, Any] | None:
            found = await self.rollout(name)
            last.update(found)
            return found if all(found[field] == value for field, value in fields.items()) else None

        last: dict[str, Any] = {}
        try:
            return await eventually(has, f"rollout {name} has {fields}", every=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{last}") from error

    async def over(self, name: str) -> dict[str, Any]:
        async def over() -> dict[str, Any] | None:
            found = await self.rollout(name)
            return found if found["phase"] not in ON else None

        return await eventually(over, f"rollout {name} is over", every=0.05)

    async def reloads(self, caller: Instance) -> dict[str, int]:
        """How often each of its configurations changed: what a proxy was never given, it never saw."""
        text = await self.mesh.envoy(caller, "/stats?filter=config_reload$|lds.update_success")
        assert isinstance(text, str)
        pairs = (line.split(": ") for line in text.splitlines() if ": " in line)
        return {name: int(value) for name, value in pairs}
