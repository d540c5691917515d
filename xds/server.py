"""The xDS server on grpc.aio: aggregated and separate services, the state of the world and delta, and CSDS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio

from pb.envoy.config.core.v3.base_pb2 import Node
from xds.cache import Generation, ResourceCache
from xds.client import Client, Peer
from xds.csds import add_csds
from xds.errors import Refused
from xds.pace import Pace
from xds.session import Limits
from xds.state import Refusal
from xds.status import ClientStatus
from xds.stream import Stream, serve_stream
from xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, RUNTIME, SCOPED_ROUTE, SECRET

__all__ = [
    "Client",
    "NullObserver",
    "Observer",
    "Peer",
    "Refused",
    "XdsServer",
    "XdsSettings",
    "server_options",
]

SERVICES = (
    # service, the stem of its methods, its type (None: all)
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", LISTENER),
    ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", SCOPED_ROUTE),
    ("envoy.service.route.v3.RouteDiscoveryService", "Routes", ROUTE),
    ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", SECRET),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime", RUNTIME),
    ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", EXTENSION_CONFIG),
)


class Identify(Protocol):
    def __call__(self, node: Node, peer: Peer) -> Awaitable[Client]:
        """Called with the first request of a stream. Raises Refused to end it with a status and a reason."""
        ...


class Observer(Protocol):
    """Told of what happens, on the event loop; must neither block nor raise."""

    def opened(self, client: str, protocol: str) -> None: ...
    def closed(self, client: str, protocol: str) -> None: ...
    def refused(self, peer: str, node: str, status: grpc.StatusCode, reason: str) -> None: ...
    def sent(self, client: str, type_url: str, resources: int, size: int) -> None: ...
    def acknowledged(self, client: str, type_url: str) -> None: ...
    def rejected(self, client: str, type_url: str, refusal: Refusal) -> None: ...
    def withheld(self, client: str, type_url: str, names: tuple[str, ...]) -> None:
        """`client` asks for secrets that its scopes do not have: told once for each name."""

    def converged(self, generation: Generation, seconds: float) -> None: ...


class NullObserver:
    """Takes no notice."""

    def opened(self, client: str, protocol: str) -> None: ...
    def closed(self, client: str, protocol: str) -> None: ...
    def refused(self, peer: str, node: str, status: grpc.StatusCode, reason: str) -> None: ...
    def sent(self, client: str, type_url: str, resources: int, size: int) -> None: ...
    def acknowledged(self, client: str, type_url: str) -> None: ...
    def rejected(self, client: str, type_url: str, refusal: Refusal) -> None: ...
    def withheld(self, client: str, type_url: str, names: tuple[str, ...]) -> None: ...
    def converged(self, generation: Generation, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class XdsSettings:
    """Seconds and bytes. `streams`: how many one client may have open. `first_configurations`: how many clients receive their first configuration at the same time; one that leaves
    a response unanswered for `first_configuration_silence` goes on beside them. `ack_timeout`: after which a client that has not
    answered counts as out of sync.
    """

    ack_timeout: float = 20.0
    first_configurations: int = 32
    first_configuration_silence: float = 1.0
    request_size: int = 8 * 1024 * 1024
    streams: int = 32
    keepalive: float = 30.0
    keepalive_timeout: float = 15.0
    limits: Limits = Limits()


def server_options(settings: XdsSettings) -> list[tuple[str, Any]]:
    """Channel arguments for `grpc.aio.server`: keepalive finds dead peers; no request is larger than it may be."""
    return [
        ("grpc.keepalive_time_ms", int(settings.keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_receive_message_length", settings.request_size),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    ]


IDENTITY = "x509_subject_alternative_name"
"""The entry of gRPC's auth context that says who a peer is; absent in plaintext."""


def _same_identity(peer: Peer, stream: Stream) -> bool:
    return peer.auth.get(IDENTITY) == stream.peer.auth.get(IDENTITY)


class XdsServer:
    """Add it to as many gRPC servers as there are ports. Use it from one event loop."""

    def __init__(
        self,
        cache: ResourceCache,
        identify: Identify,
        settings: XdsSettings = XdsSettings(),
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        may_see: Callable[[Peer, Stream], bool] | None = None,
    ) -> None:
        """`may_see` says for CSDS whether a peer may be told of a stream; by default, of those of its own TLS identity."""
        self.cache = cache
        self.identify = identify
        self.settings = settings
        self.observer: Observer = observer or NullObserver()
        self.clock = clock
        self.may_see = may_see or _same_identity
        self.first_turns = asyncio.Semaphore(settings.first_configurations)
        self.pace = Pace(clock)
        self._streams: dict[str, set[Stream]] = {}

    def add_to(self, server: grpc.aio.Server, only: str | None = None) -> None:
        """Serve every discovery service, and CSDS, on `server`; or `only` the service of one type."""
        for service, stem, only_type in SERVICES:
            if only is not None and only_type != only:
                continue
            handlers: dict[str, Any] = {}
            for delta, method in ((False, f"Stream{stem}"), (True, f"Delta{stem}")):
                # Bytes in and out: responses are joined already, and a request that is no message is answered, not dropped.
                handlers[method] = grpc.stream_stream_rpc_method_handler(
                    self._handler(only_type, delta=delta)
                )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        if only is None:
            add_csds(self, server)

    def rescope(self, client: str, scopes: tuple[Hashable, ...]) -> None:
        """Move the streams of `client` to other scopes: they receive the difference."""
        for stream in tuple(self._streams.get(client, ())):
            stream.rescope(scopes)

    def disconnect(self, client: str, reason: str) -> None:
        """End the streams of `client`."""
        for stream in tuple(self._streams.get(client, ())):
            stream.end(reason)

    def streams_of(self, client: str) -> list[Stream]:
        return list(self._streams.get(client, ()))

    def streams(self) -> list[Stream]:
        return [stream for streams in self._streams.values() for stream in streams]

    def clients(self) -> list[ClientStatus]:
        """All streams, by client id."""
        now = self.clock()
        found = [stream.status(now) for stream in self.streams()]
        return sorted(found, key=lambda status: (status.id, status.connected_at))

    # For streams

    def add(self, stream: Stream) -> None:
        """Refused if the client has too many streams open: each holds memory, and a client needs one or a few."""
        streams = self._streams.setdefault(stream.client, set())
        streams.add(stream)
        self.observer.opened(stream.client, stream.protocol)
        if len(streams) > self.settings.streams:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"more than {self.settings.streams} streams of {stream.client} are open",
            )

    def remove(self, stream: Stream) -> None:
        streams = self._streams.get(stream.client)
        if streams is None or stream not in streams:
            return
        streams.discard(stream)
        if not streams:
            del self._streams[stream.client]
        self.observer.closed(stream.client, stream.protocol)

    def converged(self, generation: Generation) -> None:
        self.observer.converged(generation, self.clock() - generation.changed_at)

    def _handler(
        self, only_type: str | None, *, delta: bool
    ) -> Callable[[Any, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[None]]:
        async def handle(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            await serve_stream(self, context, only_type, delta=delta)

        return handle
