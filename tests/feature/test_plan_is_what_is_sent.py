"""A plan against what a running control plane then sends: the very resources, at the very versions, to the very clients, and none besides."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from api.shapes.plan import PlanRequest
from meshwright.control_plane import ControlPlane
from meshwright.plan.fleet import Fleet
from meshwright.plan.reckoned import Plan
from meshwright.plan.subscribed import NAMING, Subscribed
from meshwright.plan.twin import by_client
from meshwright.settings import Settings
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from tests.support.api import Api
from tests.support.ports import free_port
from tests.support.processes import eventually
from tests.support.random_changes import SIDECARS, Changes, Document, Name, beginning
from tests.support.xds_streams import Answer, Stream
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE

TYPES = (CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE)
Sent = set[tuple[str, str, str, str]]
"""By client, type and name: the new version; empty: it was removed."""


class Client:
    """Subscribes to everything, takes everything, and remembers what it was sent."""

    def __init__(self, name: str, stream: Stream) -> None:
        self.id = f"default/{name} (plaintext)"
        self.held: dict[tuple[str, str], str] = {}
        self._before: dict[tuple[str, str], str] = {}
        self._stream = stream

    async def follow(self) -> None:
        for type_url in self.first():
            await self._stream.ask(type_url, "*")
        while True:
            answer = await self._stream.read(patience=600.0)
            for name, version in answer.versions.items():
                self.held[answer.type_url, name] = version
            for name in answer.removed:
                self.held.pop((answer.type_url, name), None)
            await self._stream.acknowledge(answer)
            await self.look(answer)

    def mark(self) -> None:
        self._before = dict(self.held)

    def differing(self) -> Sent:
        """What it holds that it did not at the mark. On the way it may have held something else for a moment."""
        return {
            (self.id, *name, self.held.get(name, ""))
            for name in {*self._before, *self.held}
            if self._before.get(name) != self.held.get(name)
        }

    def has_left(self, type_url: str, name: str) -> bool:
        return False

    def first(self) -> tuple[str, ...]:
        return TYPES

    async def look(self, answer: Answer) -> None:
        pass


class LikeEnvoy(Client):
    """Subscribes to the endpoints of the clusters that it has, and to the routes that its listeners and scopes name."""

    def __init__(self, name: str, stream: Stream) -> None:
        super().__init__(name, stream)
        self._leads_to: dict[tuple[str, str], frozenset[str]] = {}
        self._asked: dict[str, frozenset[str]] = {ENDPOINT: frozenset(), ROUTE: frozenset()}

    def has_left(self, type_url: str, name: str) -> bool:
        return type_url in self._asked and name not in self._asked[type_url]

    def first(self) -> tuple[str, ...]:
        return CLUSTER, LISTENER, SCOPED_ROUTE

    async def look(self, answer: Answer) -> None:
        if answer.type_url not in self.first():
            return
        for name, body in answer.bodies.items():
            led = _endpoints(body) if answer.type_url == CLUSTER else NAMING[answer.type_url](body)
            self._leads_to[answer.type_url, name] = frozenset(filter(None, led))
        for name in answer.removed:
            self._leads_to.pop((answer.type_url, name), None)
        for type_url, by in ((ENDPOINT, {CLUSTER}), (ROUTE, {LISTENER, SCOPED_ROUTE})):
            wanted = frozenset[str]().union(*(led for (of, _), led in self._leads_to.items() if of in by))
            before, self._asked[type_url] = self._asked[type_url], wanted
            for name in before - wanted:
                self.held.pop((type_url, name), None)
            if before != wanted:
                await self._stream.ask(type_url, *sorted(wanted - before), leave=sorted(before - wanted))


def _endpoints(body: bytes) -> list[str]:
    cluster = Cluster.FromString(body)
    named = cluster.eds_cluster_config.service_name or cluster.name
    return [named] if cluster.type == Cluster.EDS else []


class World:
    def __init__(self, control_plane: ControlPlane, api: Api, clients: list[Client]) -> None:
        self.planner = control_plane.planner
        self._api = api
        self.clients = clients
        self.agreed: Callable[[], Awaitable[bool]] = self.idle
        """Whether the clients still hold what was planned last."""

    def mark(self) -> None:
        for each in self.clients:
            each.mark()

    def sent(self) -> Sent:
        """What was sent since the mark."""
        return counted({each for client in self.clients for each in client.differing()}, self.clients)

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


def counted(found: Sent, clients: list[Client]) -> Sent:
    """Of what a client has just left, it may be told or not: that what it subscribed to by name is another, or gone."""
    by_id = {each.id: each for each in clients}
    return {each for each in found if not by_id[each[0]].has_left(each[1], each[2])}


def planned(plan: Plan, fleet: Fleet, clients: list[Client]) -> Sent:
    found = {
        (client, one.type_url, one.name, new.version if new is not None else "")
        for of, differences in by_client(plan.given, Subscribed(fleet, plan.given))
        for client in of
        for old, new in differences
        if (one := new or old) is not None
    }
    return counted(found, clients)


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
        clients: list[Client] = []
        for number, name in enumerate(SIDECARS):
            stream = await stack.enter_async_context(Stream(plaintext, delta=True, node=f"default/{name}"))
            clients.append(LikeEnvoy(name, stream) if number % 2 == 0 else Client(name, stream))
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
    fleet = await here.planner.live.fleet()
    assert await here.agreed(), "something was sent afterwards"
    here.mark()
    await here.write(put, gone)

    async def agreed() -> bool:
        return here.sent() == planned(plan, fleet, here.clients)

    here.agreed = agreed
    # What a client asks for because of what it was given may be on its way yet.
    with contextlib.suppress(AssertionError):
        await eventually(agreed, "what is planned is sent")
    found, expected = here.sent(), planned(plan, fleet, here.clients)
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
