"""What proxies log to the control plane, over real gRPC: whose it is, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from mesh.names import Key
from meshwright import access_logs
from meshwright.access_logs import AccessLogs, Entries
from meshwright.metrics import Metrics
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from pb.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from pb.envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub
from xds.client import Peer
from xds.errors import Refused

LOG = "some log"
API = Key("default", "api-1")


def entries(node: str = str(API), log: str = LOG, *, http: int = 0, tcp: int = 0) -> StreamAccessLogsMessage:
    made = StreamAccessLogsMessage()
    made.identifier.node.id, made.identifier.log_name = node, log
    made.http_logs.log_entry.extend(HTTPAccessLogEntry() for _ in range(http))
    if tcp:
        made.tcp_logs.log_entry.extend(TCPAccessLogEntry() for _ in range(tcp))
    return made


@dataclass(slots=True)
class House:
    """`stale` is why no proof holds any more."""

    metrics: Metrics
    taken: list[tuple[Key, int]] = field(default_factory=list)
    stale: str | None = None
    port: int = 0

    def who(self, node: Node, peer: Peer) -> tuple[Key, None]:
        del peer
        if node.id != str(API):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"{node.id} is not what was proved")
        return API, None

    def take(self, workload: Key, found: Entries) -> None:
        self.taken.append((workload, len(found)))

    @asynccontextmanager
    async def stream(
        self,
    ) -> AsyncIterator[grpc.aio.StreamUnaryCall[StreamAccessLogsMessage, StreamAccessLogsResponse]]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            yield AccessLogServiceStub(channel).StreamAccessLogs()

    async def send(self, *messages: StreamAccessLogsMessage) -> grpc.StatusCode:
        """How the stream ended that says `messages`, and no more."""
        async with self.stream() as call:
            # A stream may end while we speak: how, it says itself.
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                for each in messages:
                    await call.write(each)
                await call.done_writing()
                await call
            return await call.code()

    def counted(self, outcome: str) -> float:
        return (
            self.metrics.registry.get_sample_value(
                "meshwright_access_log_entries_total", {"outcome": outcome}
            )
            or 0.0
        )


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House(Metrics(CollectorRegistry()))
    server = grpc.aio.server()
    AccessLogs(made.who, lambda _: made.stale, {LOG: made.take}, made.metrics).add_to(server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made
    await server.stop(0)


async def test_entries_of_both_kinds_come_with_the_workload_that_was_proved(house: House) -> None:
    assert await house.send(entries(http=2), entries("nobody/asks-again", http=1)) is grpc.StatusCode.OK
    assert await house.send(entries(tcp=3)) is grpc.StatusCode.OK
    assert house.taken == [(API, 2), (API, 1), (API, 3)]
    assert house.counted("taken") == 6


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (entries("default/other-1", http=1), grpc.StatusCode.PERMISSION_DENIED),
        (entries(log="another", http=1), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_is_refused(house: House, message: StreamAccessLogsMessage, code: grpc.StatusCode) -> None:
    assert await house.send(message) is code
    assert house.taken == []
    assert house.counted("refused") == 1


async def test_a_proof_that_no_longer_holds_ends_the_stream(house: House) -> None:
    house.stale = "the certificate has ended"
    assert await house.send(entries(http=1)) is grpc.StatusCode.UNAUTHENTICATED
    assert house.taken == []


async def test_one_workload_has_so_many_streams_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_logs, "STREAMS", 1)
    async with house.stream() as first:
        while not house.taken:
            await first.write(entries(http=1))
        assert await house.send(entries(http=1)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await first.done_writing()
        await first
    assert await house.send(entries(http=1)) is grpc.StatusCode.OK
