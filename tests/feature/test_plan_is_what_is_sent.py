"""A plan against what a running control plane then sends: the very resources, at the very versions, to the very clients, and none besides."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.shapes.plan import PlanRequest
from meshwright.control_plane import ControlPlane
from meshwright.plan.reckoned import Plan
from meshwright.plan.twin import by_client
from meshwright.settings import Settings
from tests.support.api import Api
from tests.support.ports import free_port
from tests.support.processes import eventually
from tests.support.random_changes import SIDECARS, Changes, Document, Name, beginning
from tests.support.xds_streams import Stream
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE

TYPES = (CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE)
Sent = set[tuple[str, str, str, str]]
"""By client, type and name: the new version; empty: it was removed."""


class Client:
    """Subscribes to everything, takes everything, and remembers what it was sent."""

    def __init__(self, name: str, stream: Stream) -> None:
        self.id = f"default/{name} (plaintext)"
        self.held: dict[tuple[str, str], str] = {}
        self._stream = stream

    async def follow(self) -> None:
        for type_url in TYPES:
            await self._stream.ask(type_url, "*")
        while True:
            answer = await self._stream.read(patience=600.0)
            for name, version in answer.versions.items():
                self.held[answer.type_url, name] = version
            for name in answer.removed:
                self.held.pop((answer.type_url, name), None)
            await self._stream.acknowledge(answer)


class World:
    def __init__(self, control_plane: ControlPlane, api: Api, clients: list[Client]) -> None:
        self.planner = control_plane.planner
        self._api = api
        self.clients = clients

    def held(self) -> dict[str, dict[tuple[str, str], str]]:
        return {each.id: dict(each.held) for each in self.clients}

    async def write(self, put: list[Document], gone: list[Name]) -> None:
        """And wait until every client has acknowledged all of it."""
        delete = [{"kind": kind, "namespace": space, "name": name} for kind, space, name in gone]
        answer = await self._api(
            "POST", "/api/v1/batch", {"documents": put, "delete": delete, "reason": "test"}
        )
        assert answer.status == 200, answer
        path = f"/api/v1/revisions/{answer.json['revision']}/acknowledgements?timeout=60"
        told = await self._api("GET", path)
        assert told.status == 200, told
        assert told.json["state"] == "acknowledged", told
        await self.planner.live.settled()
        await eventually(self.idle, "every client has acknowledged everything")

    async def idle(self) -> bool:
        streams = self.planner.live.xds.streams()
        return len(streams) == len(self.clients) and all(
            state.idle for stream in streams for state in stream.session.states.values()
        )


def planned(plan: Plan) -> Sent:
    return {
        (client, one.type_url, one.name, new.version if new is not None else "")
        for clients, differences in by_client(plan.given)
        for client in clients
        for old, new in differences
        if (one := new or old) is not None
    }


def sent(before: dict[str, dict[tuple[str, str], str]], after: dict[str, dict[tuple[str, str], str]]) -> Sent:
    return {
        (client, *name, after[client].get(name, ""))
        for client in after
        for name in {*before[client], *after[client]}
        if before[client].get(name) != after[client].get(name)
    }


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    plaintext = free_port()
    settings = Settings(
        data_dir=folder / "data",
        xds_address="127.0.0.1:0",
        join_address="127.0.0.1:0",
        admin_address="127.0.0.1:0",
        api_address="127.0.0.1:0",
        plaintext_address=f"127.0.0.1:{plaintext}",
    )
    async with ControlPlane(settings) as control_plane, contextlib.AsyncExitStack() as stack:
        api = Api(folder / "data")
        answer = await api("POST", "/api/v1/batch", {"documents": beginning(), "reason": "the beginning"})
        assert answer.status == 200, answer
        clients = [
            Client(
                name, await stack.enter_async_context(Stream(plaintext, delta=True, node=f"default/{name}"))
            )
            for name in SIDECARS
        ]
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(each.follow()) for each in clients]
            here = World(control_plane, api, clients)
            await eventually(here.idle, "every client has its first configuration")
            try:
                yield here
            finally:
                for each in following:
                    each.cancel()


async def compared(here: World, changes: Changes) -> int:
    """How many resources differed, over all clients."""
    put, gone = changes.next()
    request: dict[str, Any] = {
        "documents": put,
        "delete": [{"kind": kind, "namespace": space, "name": name} for kind, space, name in gone],
    }
    plan = await here.planner.reckoned(PlanRequest.model_validate({**request, "check": False}))
    assert not plan.refused, (plan.refused, request)
    before = here.held()
    await here.write(put, gone)
    found, expected = sent(before, here.held()), planned(plan)
    assert found == expected, {"only planned": expected - found, "only sent": found - expected, **request}
    return len(found)


async def run(folder: Path, steps: int, seed: int) -> None:
    async with world(folder) as here:
        changes = Changes(random.Random(seed))
        differing = [await compared(here, changes) for _ in range(steps)]
        assert sum(each > 0 for each in differing) > steps / 2, differing


async def test_of_100_random_changes_what_is_planned_is_what_is_sent(tmp_path: Path) -> None:
    await run(tmp_path, 100, seed=7)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(10))
async def test_of_thousands(tmp_path: Path, seed: int) -> None:
    await run(tmp_path, 300, seed)
