"""The xDS server alone, on loopback, and raw gRPC streams to it: what a test sends is what goes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf.message import Message

from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from pb.envoy.service.runtime.v3.rtds_pb2 import Runtime
from xds.cache import ResourceCache, ScopeChange
from xds.client import Client, Peer
from xds.resource import Resource, encode
from xds.server import SERVICES, NullObserver, Observer, Refused, XdsServer, XdsSettings, server_options
from xds.types import PREFIX

EVERYONE = "everyone"
PATIENCE = 20.0
SILENCE = 0.15
"""Seconds without a message that count as none coming: on loopback, hundreds of times what one takes."""

DEFAULTS = XdsSettings()

MESSAGES: dict[str, type[Message]] = {
    PREFIX + kind.DESCRIPTOR.full_name: kind
    for kind in (
        Cluster,
        ClusterLoadAssignment,
        Listener,
        ScopedRouteConfiguration,
        RouteConfiguration,
        Secret,
        Runtime,
        TypedExtensionConfig,
    )
}

METHODS: dict[tuple[str | None, bool], str] = {
    (only_type, delta): f"/{service}/{'Delta' if delta else 'Stream'}{stem}"
    for service, stem, only_type in SERVICES
    for delta in (False, True)
}


class Recorder(NullObserver):
    """Remembers what the server tells of itself."""

    def __init__(self) -> None:
        self.open = 0
        self.refusals: list[tuple[str, grpc.StatusCode, str]] = []
        self.bytes: dict[str, int] = {}

    def opened(self, client: str, protocol: str) -> None:
        self.open += 1

    def closed(self, client: str, protocol: str) -> None:
        self.open -= 1

    def refused(self, peer: str, node: str, status: grpc.StatusCode, reason: str) -> None:
        self.refusals.append((node, status, reason))

    def sent(self, client: str, type_url: str, resources: int, size: int) -> None:
        self.bytes[type_url] = self.bytes.get(type_url, 0) + size


@dataclass(slots=True)
class Served:
    """A server that gives everybody the scope EVERYONE, except for those whose `node.id` begins with `nobody`."""

    cache: ResourceCache
    xds: XdsServer
    recorder: Recorder
    port: int

    def publish(self, *resources: Resource, removed: Iterable[tuple[str, str]] = ()) -> None:
        self.cache.publish([ScopeChange(EVERYONE, put=resources, removed=tuple(removed))], changed_at=0.0)


def resource(message: Message, name: str = "", origin: tuple[str, ...] = ()) -> Resource:
    """Named by itself, or by its cluster."""
    found = name or getattr(message, "cluster_name", "") or getattr(message, "name", "")
    return encode(
        PREFIX + message.DESCRIPTOR.full_name, found, message.SerializeToString(deterministic=True), origin
    )


@contextlib.asynccontextmanager
async def served(
    *resources: Resource,
    settings: XdsSettings = DEFAULTS,
    port: int = 0,
    scopes: tuple[Hashable, ...] = (EVERYONE,),
) -> AsyncIterator[Served]:
    async def identify(node: Node, peer: Peer) -> Client:
        if node.id.startswith("nobody"):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"{node.id} is nobody")
        return Client(node.id, scopes)

    cache, recorder = ResourceCache(), Recorder()
    cache.publish([ScopeChange(EVERYONE, put=resources, replace=True)])
    cache.open()
    observer: Observer = recorder
    xds = XdsServer(cache, identify, settings, observer)
    server = grpc.aio.server(options=server_options(settings))
    xds.add_to(server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Served(cache, xds, recorder, bound)
    finally:
        await server.stop(None)


class Stream:
    """One raw stream, `delta` or not, of a separate service (`only_type`) or ADS. An async context manager."""

    def __init__(
        self,
        port: int,
        *,
        delta: bool,
        only_type: str | None = None,
        node: str = "raw",
        reads: bool = True,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """`reads` False: it takes nothing from the wire beyond what gRPC's flow control lets through. `channel`: one with TLS, say; it
        is closed with the stream.
        """
        self.delta = delta
        self.node = node
        self._only_type = only_type
        settings = [("grpc.max_receive_message_length", -1)]
        self._channel = channel or grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=settings)
        method: Any = self._channel.stream_stream(METHODS[only_type, delta])
        self._call: Any = method()
        self._first = True
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._reader = asyncio.create_task(self._receive() if reads else asyncio.sleep(0))

    async def _receive(self) -> None:
        """Apart from `read`, for a read that is given up ends the call."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            while (data := await self._call.read()) is not grpc.aio.EOF:
                self._answers.put_nowait(Answer.of(data, delta=self.delta))
        self._answers.put_nowait(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        await self._reader
        await self._channel.close()

    async def send(self, request: Message | bytes) -> None:
        await self._call.write(request if isinstance(request, bytes) else request.SerializeToString())

    async def ask(
        self,
        type_url: str,
        *names: str,
        leave: Iterable[str] = (),
        held: dict[str, str] | None = None,
        version: str = "",
        nonce: str = "",
        error: str = "",
        node: str | None = None,
    ) -> None:
        """A request in the stream's protocol. The first one carries the node; `held` and `leave` are delta's alone."""
        request: DeltaDiscoveryRequest | DiscoveryRequest
        if self.delta:
            request = DeltaDiscoveryRequest(
                resource_names_subscribe=names,
                resource_names_unsubscribe=leave,
                initial_resource_versions=held or {},
            )
        else:
            request = DiscoveryRequest(resource_names=names, version_info=version)
        request.type_url, request.response_nonce = type_url, nonce
        if node is not None or self._first:
            request.node.id, self._first = node or self.node, False
        if error:
            request.error_detail.code, request.error_detail.message = 3, error
        await self.send(request)

    async def read(self, patience: float = PATIENCE) -> Answer:
        """The next response."""
        async with asyncio.timeout(patience):
            answer = await self._answers.get()
        if answer is None:
            raise AssertionError(
                f"the stream has ended: {await self._call.code()} {await self._call.details()}"
            )
        return answer

    async def silent(self, silence: float = SILENCE) -> bool:
        """Whether nothing comes."""
        try:
            await self.read(silence)
        except TimeoutError:
            return True
        return False

    async def acknowledge(self, answer: Answer, *names: str) -> None:
        """`names` are those of the subscription, as SotW repeats them."""
        await self.ask(
            answer.type_url, *(() if self.delta else names), version=answer.version, nonce=answer.nonce
        )

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended; whatever comes before is thrown away."""
        async with asyncio.timeout(PATIENCE):
            await self._reader
            return await self._call.code(), await self._call.details()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of either protocol. `versions` is empty in SotW, whose resources have none."""

    type_url: str
    version: str
    nonce: str
    bodies: dict[str, bytes]
    versions: dict[str, str]
    removed: tuple[str, ...]
    size: int

    @property
    def names(self) -> set[str]:
        return set(self.bodies)

    @staticmethod
    def of(data: bytes, *, delta: bool) -> Answer:
        if delta:
            found = DeltaDiscoveryResponse.FromString(data)
            return Answer(
                found.type_url,
                found.system_version_info,
                found.nonce,
                {each.name: each.resource.value for each in found.resources},
                {each.name: each.version for each in found.resources},
                tuple(found.removed_resources),
                len(data),
            )
        whole = DiscoveryResponse.FromString(data)
        bodies = {_name(each.type_url, each.value): each.value for each in whole.resources}
        return Answer(whole.type_url, whole.version_info, whole.nonce, bodies, {}, (), len(data))


def _name(type_url: str, body: bytes) -> str:
    return resource(MESSAGES[type_url].FromString(body)).name
