"""From strict to off and back: nothing is published that somebody has not heard the first half of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from envoy.render import Renderer
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from mesh.transport import TlsMode
from mesh.views import inbound_view
from meshwright.passages import Passages
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher
from policies.transport import modes
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.policy_documents import declared
from tests.support.processes import eventually
from xds.cache import ResourceCache
from xds.status import ClientStatus, TypeStatus
from xds.types import ENDPOINT, LISTENER

API = a_key("api")


def mesh_tls(mode: str | None) -> SourceSnapshot:
    text = (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {{name: api}}\n"
        f"spec: {{targetRefs: [{{kind: Service, name: api}}], mode: {mode}}}\n"
    )
    workloads = (a_proxy("api-1", uses=()), a_proxy("web-1", sidecar=15102, uses=["api"]))
    return SourceSnapshot(
        "test", (a_service("api"), a_service("web")), workloads, declared(text) if mode else ()
    )


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
        self.pipeline.receive(mesh_tls(mode))
        self.passages.changed(before, self.pipeline.state)

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

    def status(self) -> Iterable[ClientStatus]:
        self.asked += 1
        for client in self.clients:
            types = tuple(
                a_type(kind, in_sync=(client, kind) not in self.behind) for kind in (LISTENER, ENDPOINT)
            )
            yield ClientStatus(client, client, "", "", "delta", 0.0, waiting=False, types=types)


def a_type(kind: str, *, in_sync: bool) -> TypeStatus:
    return TypeStatus(kind, None, 1, 1, "", "", in_sync, (), (), late=False, refusal=None)


@asynccontextmanager
async def a_world(mode: str | None) -> AsyncIterator[World]:
    state, _ = MeshState(TRUST_DOMAIN).apply(mesh_tls(mode))
    now = [0.0]
    pipeline = Pipeline(
        state, Publisher(state, Renderer()), ResourceCache(), pace=Pace(0.0, 0.0), clock=lambda: now[0]
    )
    world = World(pipeline, now)
    world.passages = Passages(pipeline, world.status, lambda: now[0])
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
        world.now[0] += 21
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
