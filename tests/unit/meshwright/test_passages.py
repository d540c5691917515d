"""From strict to off and back: nothing is published that somebody has not heard the first half of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from envoy.render import Renderer
from mesh.events import Changes, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from mesh.transport import TlsMode
from mesh.views import inbound_view
from meshwright.passages import PIECE, Passages
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher, Update
from policies.transport import Transport, modes
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.policy_documents import declared
from tests.support.processes import eventually
from xds.cache import ResourceCache
from xds.types import ENDPOINT, LISTENER

API = a_key("api")
SERVICES = 5 * PIECE
ALL_OFF = """
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {name: all}
spec: {targetRefs: [{kind: Mesh}], mode: off}
"""
OF_WEB = """
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {{name: web}}
spec: {{targetRefs: [{{kind: Service, name: web}}], ports: [{{port: {}, mode: permissive}}]}}
"""


def mesh_tls(mode: str | None) -> SourceSnapshot:
    text = (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {{name: api}}\n"
        f"spec: {{targetRefs: [{{kind: Service, name: api}}], mode: {mode}}}\n"
    )
    workloads = (a_proxy("api-1", uses=()), a_proxy("web-1", sidecar=15102, uses=["api"]))
    return SourceSnapshot(
        "test", (a_service("api"), a_service("web")), workloads, declared(text) if mode else ()
    )


@dataclass(frozen=True, slots=True)
class AStream:
    client: str
    behind: set[tuple[str, str]]

    def in_sync(self, type_url: str) -> bool:
        return (self.client, type_url) not in self.behind


@dataclass(slots=True)
class World:
    """A pipeline that publishes at once. `behind` are the clients, and the types, that have not acknowledged."""

    pipeline: Pipeline
    now: list[float]
    passages: Passages = field(init=False)
    asked: int = 0
    behind: set[tuple[str, str]] = field(default_factory=set)
    clients: list[str] = field(default_factory=lambda: ["default/api-1", "default/web-1"])

    def write(self, mode: str | None) -> None:
        before = self.pipeline.state
        changes = self.pipeline.receive(mesh_tls(mode))
        self.passages.changed(before, self.pipeline.state, changes)

    @property
    def mode(self) -> TlsMode:
        return modes(self.pipeline.state, API).get((a_key("api-1"), 80), TlsMode.STRICT)

    async def becomes(self, mode: TlsMode) -> None:
        async def it_is() -> bool:
            return self.mode is mode

        await eventually(it_is, f"api is {mode}")

    async def looked(self, times: int = 3) -> None:
        """Return when `run` has asked for the clients so many times."""
        target = self.asked + times

        async def often() -> bool:
            return self.asked >= target

        await eventually(often, "it looks who has acknowledged")

    def streams(self) -> Iterable[AStream]:
        self.asked += 1
        return [AStream(client, self.behind) for client in self.clients]

    def streams_of(self, client: str) -> Iterable[AStream]:
        self.asked += 1
        return [AStream(client, self.behind)] if client in self.clients else []


@asynccontextmanager
async def a_world(mode: str | None, *, settle: float = 0.0, silence: float = 0.0) -> AsyncIterator[World]:
    state, _ = MeshState(TRUST_DOMAIN).apply(mesh_tls(mode))
    now = [0.0]
    pipeline = Pipeline(
        state, Publisher(state, Renderer()), ResourceCache(), pace=Pace(0.0, 0.0), clock=lambda: now[0]
    )
    world = World(pipeline, now)
    world.passages = Passages(pipeline, world, lambda: now[0], settle=settle, silence=silence)
    tasks = [asyncio.create_task(pipeline.run()), asyncio.create_task(world.passages.run())]
    try:
        yield world
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_callers_speak_plaintext_once_the_sidecar_takes_it_however_long_that_is() -> None:
    async with a_world(None) as world:
        world.behind = {("default/api-1", LISTENER), ("default/web-1", ENDPOINT)}
        world.write("off")
        assert world.mode is TlsMode.PERMISSIVE
        world.now[0] += 1000
        await world.looked()
        assert world.mode is TlsMode.PERMISSIVE
        world.behind.discard(("default/api-1", LISTENER))
        await world.becomes(TlsMode.OFF)


async def test_plaintext_is_refused_once_no_caller_speaks_it() -> None:
    async with a_world("off") as world:
        world.behind = {("default/api-1", LISTENER), ("default/web-1", ENDPOINT)}
        world.write("strict")
        await world.looked()
        assert world.mode is TlsMode.PERMISSIVE
        world.behind.discard(("default/web-1", ENDPOINT))
        await world.becomes(TlsMode.STRICT)


@pytest.mark.parametrize(("before", "after", "moment"), [("off", "strict", 6.0), ("strict", "off", 1.0)])
async def test_what_was_acknowledged_comes_into_use_a_moment_later(
    before: str, after: str, moment: float
) -> None:
    """And a connection in plaintext that nobody has used yet is only told what it is after some seconds."""
    async with a_world(before, settle=1.0, silence=5.0) as world:
        world.behind = {("default/api-1", LISTENER), ("default/web-1", ENDPOINT)}
        world.write(after)
        await world.looked()
        world.behind.clear()
        await world.looked()
        world.now[0] += moment - 0.1
        await world.looked()
        assert world.mode is TlsMode.PERMISSIVE
        world.behind = {("default/api-1", LISTENER), ("default/web-1", ENDPOINT)}
        world.clients.append("default/web-2")  # who comes meanwhile has heard at once
        await world.looked()
        world.now[0] += 0.2
        await world.becomes(TlsMode(after))


async def test_a_policy_that_goes_is_the_same_as_strict() -> None:
    async with a_world("off") as world:
        world.behind = {("default/web-1", ENDPOINT)}
        world.write(None)
        assert not world.pipeline.state.declared
        await world.looked()
        assert world.mode is TlsMode.PERMISSIVE
        state = world.pipeline.state
        workload = state.workloads[a_key("api-1")]
        seams = Weaver().listeners(state, workload, inbound_view(state, workload))
        assert [parts.plaintext for _, parts in seams.inbound] == [True], "its sidecar still takes it"
        world.behind.clear()
        await world.becomes(TlsMode.STRICT)
        assert not world.pipeline.state.passing


async def test_a_caller_that_never_answers_delays_strict_for_a_while_only() -> None:
    async with a_world("off") as world:
        world.behind = {("default/web-1", ENDPOINT)}
        world.write("strict")
        await world.looked()
        assert world.mode is TlsMode.PERMISSIVE
        world.now[0] += 31
        await world.becomes(TlsMode.STRICT)


async def test_who_is_not_connected_is_not_waited_for() -> None:
    async with a_world("strict") as world:
        world.clients = []
        world.write("off")
        await world.becomes(TlsMode.OFF)


async def test_a_change_of_mind_on_the_way() -> None:
    async with a_world("strict") as world:
        world.behind = {("default/api-1", LISTENER)}
        world.write("off")
        await world.looked()
        world.write("strict")
        assert world.mode is TlsMode.PERMISSIVE, "some caller may have heard of off already"
        await world.becomes(TlsMode.STRICT)
        world.write("permissive")
        assert (world.mode, world.pipeline.state.passing) == (TlsMode.PERMISSIVE, frozenset())


async def test_what_is_next_to_permissive_changes_at_once() -> None:
    async with a_world("strict") as world:
        for mode in (TlsMode.PERMISSIVE, TlsMode.OFF, TlsMode.PERMISSIVE, TlsMode.STRICT):
            world.write(mode.value)
            assert world.mode is mode
        assert world.asked == 0


async def test_a_write_later_does_not_give_who_lags_more_time() -> None:
    async with a_world("off") as world:
        world.behind = {("default/web-1", ENDPOINT)}
        world.write("strict")
        await world.looked()
        for number in range(3):
            world.now[0] += 11
            before = world.pipeline.state
            update = SourceUpdate("test", declared=declared(OF_WEB.format(80 + number)))
            changes = world.pipeline.receive(update)
            world.passages.changed(before, world.pipeline.state, changes)
        await world.becomes(TlsMode.STRICT)


async def test_those_services_alone_are_asked_that_a_policy_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world("strict") as world:
        asked = _asked(monkeypatch)
        world.write("off")
        assert asked == [API, API]


async def test_what_concerns_all_is_reckoned_in_pieces_and_published_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others have their turn in between, and none is told of what is off before its sidecar takes plaintext."""
    names = [f"s{number}" for number in range(SERVICES)]
    snapshot = SourceSnapshot(
        "many", tuple(map(a_service, names)), tuple(a_proxy(f"{each}-1", services=[each]) for each in names)
    )
    async with a_world(None) as world:
        world.pipeline.receive(snapshot)
        await world.pipeline.settled()
        world.clients = [f"default/{each}-1" for each in names]
        world.behind = {(each, LISTENER) for each in world.clients}
        asked = _asked(monkeypatch)
        before = world.pipeline.state
        changes = world.pipeline.receive(SourceUpdate("all", declared=declared(ALL_OFF)))
        world.passages.changed(before, world.pipeline.state, changes)
        assert 0 < len(asked) <= 2 * PIECE
        assert not world.pipeline.state.passing
        published: list[MeshState] = []
        refresh = Publisher.refresh

        def seen(publisher: Publisher, state: MeshState, some: Changes) -> Update:
            published.append(state)
            return refresh(publisher, state, some)

        monkeypatch.setattr(Publisher, "refresh", seen)
        await world.pipeline.settled()
        assert len(asked) == 2 * (SERVICES + 2)
        assert {len(each.passing) for each in published} == {SERVICES + 2}


def _asked(monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """The services that were asked for their modes, from now on."""
    asked: list[Key] = []
    told = Transport.modes

    def counted(transport: Transport, service: Key) -> dict[tuple[Key, int], TlsMode]:
        asked.append(service)
        return told(transport, service)

    monkeypatch.setattr(Transport, "modes", counted)
    return asked
