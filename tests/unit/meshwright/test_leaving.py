"""Who leaves is out of service until a proxy of it is back, its source takes it away, or some time has passed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest

from ca.peer import Proved
from envoy.render import Renderer
from mesh.events import SourceUpdate
from mesh.identity import Identity
from mesh.names import Key
from mesh.workload import Health
from meshwright.leaving import Leaving
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.meshwright.leave.v1.leave_pb2 import LeaveRequest, LeaveResponse
from pb.meshwright.leave.v1.leave_pb2_grpc import LeaveServiceStub
from tests.support.builders import a_service, a_snapshot, a_state, a_workload
from tests.support.processes import eventually
from xds.cache import ResourceCache
from xds.client import Peer

API = Key("default", "api-1")
PROVED = "spiffe://example.org/ns/default/sa/api"
FAR = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class AStream:
    client: str = "default/api-1"
    listens: bool = False

    def heard(self, since: float, type_url: str | None = None) -> bool:
        return True

    def in_sync(self, type_url: str) -> bool:
        return self.listens

    def subscribes(self, type_url: str) -> bool:
        return True


@dataclass
class House:
    pipeline: Pipeline
    open: list[AStream] = field(default_factory=list)
    now: float = 1000.0
    port: int = 0
    elsewhere: float = 0.0

    def __post_init__(self) -> None:
        self.leaving = Leaving(
            self.who,
            lambda _: None,
            self.pipeline,
            self,
            lambda: self.now,
            patience=5,
            ended=60,
            elsewhere=self.elsewhere,
        )

    def streams(self) -> list[AStream]:
        return self.open

    def streams_of(self, client: str) -> list[AStream]:
        return [each for each in self.open if each.client == client]

    def who(self, node: Node, peer: Peer) -> tuple[Key, Proved | None]:
        return API, Proved(Identity.parse(PROVED), API, FAR)

    def tell(self, event: SourceUpdate) -> None:
        self.leaving.changed(self.pipeline.receive(event))

    def is_out(self) -> bool:
        return self.pipeline.state.workloads[API].health is Health.CRITICAL

    async def until(self, out: bool) -> None:
        async def found() -> bool:
            return self.is_out() is out

        await eventually(found, "out of service" if out else "in service", every=0.005)

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Within it callers have heard, and the proxy has not ended yet."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call = LeaveServiceStub(channel).Leave(LeaveRequest(node_id=str(API)))
            while isinstance(answer := await call.read(), LeaveResponse) and not answer.over:
                pass
            yield
            call.cancel()

    async def leave(self) -> None:
        async with self.call():
            assert self.is_out()

        async def ended() -> bool:
            return API in self.leaving._until

        await eventually(ended, "the call has ended", every=0.005)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    state = a_state()
    pipeline = Pipeline(
        state,
        Publisher(state, Renderer()),
        ResourceCache(),
        pace=Pace(0.0, 0.0),
        clock=asyncio.get_running_loop().time,
    )
    pipeline.receive(a_snapshot(a_service("api"), a_workload("api-1", meshed=True)))
    made = House(pipeline)
    server = grpc.aio.server()
    made.leaving.add_to(server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    tasks = [asyncio.create_task(pipeline.run()), asyncio.create_task(made.leaving.run())]
    yield made
    await server.stop(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_left_is_out_until_a_proxy_of_it_has_its_listeners(house: House) -> None:
    await house.leave()
    stream = AStream()
    house.open.append(stream)
    house.leaving.came(API)
    house.tell(SourceUpdate("test", workloads=(a_workload("api-1", meshed=True, weight=2),)))
    await asyncio.sleep(0.05)
    assert house.is_out()
    stream.listens = True
    await house.until(out=False)


async def test_a_proxy_that_came_back_elsewhere_counts_as_its_source_says_after_a_while(house: House) -> None:
    await house.leave()
    house.now += 59
    house.leaving._woken.set()
    await asyncio.sleep(0.05)
    assert house.is_out()
    house.now += 1
    house.leaving._woken.set()
    await house.until(out=False)


async def test_a_proxy_that_has_not_ended_yet_is_out_however_long(house: House) -> None:
    async with house.call():
        house.now += 600
        house.leaving._woken.set()
        await asyncio.sleep(0.05)
        assert house.is_out()


@pytest.mark.parametrize("ends", [True, False])
async def test_who_is_deregistered_and_registered_again_is_in_service(house: House, ends: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if ends:
            await house.leave()
        else:
            await stack.enter_async_context(house.call())
        house.tell(SourceUpdate("test", removed_workloads=(API,)))
        house.tell(SourceUpdate("test", workloads=(a_workload("api-1", meshed=True),)))
        assert not house.is_out()


async def test_who_is_declared_to_have_no_sidecar_is_in_service(house: House) -> None:
    await house.leave()
    house.tell(SourceUpdate("test", workloads=(a_workload("api-1"),)))
    assert not house.is_out()


async def test_callers_of_other_replicas_are_given_their_time_if_there_can_be_any(house: House) -> None:
    house.leaving._elsewhere = 2.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), house.call():
            pass
    house.tell(SourceUpdate("test", workloads=(a_workload("api-1", services=(), meshed=True),)))
    async with asyncio.timeout(30), house.call():
        pass
