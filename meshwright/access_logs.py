"""What proxies log to the control plane: Envoy's access log service, on the connection that a proxy has proved itself on.

Who wants to know names the log and is given its entries; nothing is kept here. Entries are what a proxy says of itself: they are passed on
with the workload that it has proved to be, and say nothing of others.
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/service/accesslog/v3/als.proto
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import grpc
import grpc.aio
import structlog

from ca.peer import Proved
from mesh.names import Key
from meshwright.metrics import Metrics
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from pb.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from pb.envoy.service.accesslog.v3.als_pb2_grpc import (
    AccessLogServiceServicer,
    add_AccessLogServiceServicer_to_server,
)
from xds.client import Peer, peer_of
from xds.errors import Refused

STREAMS = 256
"""That one workload may have open: Envoy opens one for each log and each of its threads."""

Entries: TypeAlias = "Sequence[HTTPAccessLogEntry] | Sequence[TCPAccessLogEntry]"
OnEntries: TypeAlias = Callable[[Key, Entries], None]
"""Is given entries of one proxy, on the event loop, with its workload. Must neither block nor raise."""
WhoSpeaks: TypeAlias = Callable[[Node, Peer], tuple[Key, Proved | None]]
"""Whose proxy it is, and what it has proved; Refused if not what it says."""
Stale: TypeAlias = Callable[[object], str | None]
"""Why a proof no longer holds; None if it does."""
Messages: TypeAlias = AsyncIterator[StreamAccessLogsMessage]
Context: TypeAlias = "grpc.aio.ServicerContext[Messages, Awaitable[StreamAccessLogsResponse]]"

log = structlog.get_logger(__name__)


class AccessLogs(AccessLogServiceServicer):
    """`listeners`: by the name of a log, who is given its entries. Other logs are refused."""

    def __init__(
        self, who: WhoSpeaks, stale: Stale, listeners: Mapping[str, OnEntries], metrics: Metrics
    ) -> None:
        self._who = who
        self._stale = stale
        self._listeners = listeners
        self._metrics = metrics
        self._open: dict[Key, int] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        add_AccessLogServiceServicer_to_server(self, server)

    async def StreamAccessLogs(  # noqa: N802
        self, request_iterator: Messages, context: Context
    ) -> StreamAccessLogsResponse:
        peer = peer_of(context)
        try:
            await self._receive(request_iterator, peer)
        except Refused as refused:
            self._metrics.access_log_entries.labels("refused").inc()
            log.warning("access log refused", peer=peer.address, reason=refused.reason)
            await context.abort(refused.status, refused.reason)
        return StreamAccessLogsResponse()

    async def _receive(self, messages: Messages, peer: Peer) -> None:
        """Until the proxy ends the stream; Refused if it may not say what it says."""
        speaker: tuple[Key, Proved | None, OnEntries] | None = None
        try:
            async for message in messages:
                if speaker is None:
                    workload, proof = self._who(message.identifier.node, peer)
                    speaker = workload, proof, self._listener(message.identifier.log_name)
                    self._opened(workload)
                workload, proof, listener = speaker
                why = self._stale(proof)
                if why is not None:
                    raise Refused(grpc.StatusCode.UNAUTHENTICATED, why)
                entries: Entries = message.http_logs.log_entry or message.tcp_logs.log_entry
                self._metrics.access_log_entries.labels("taken").inc(len(entries))
                listener(workload, entries)
        finally:
            if speaker is not None:
                self._closed(speaker[0])

    def _listener(self, name: str) -> OnEntries:
        found = self._listeners.get(name)
        if found is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"nobody here reads an access log {name[:100]!r}")
        return found

    def _opened(self, workload: Key) -> None:
        self._open[workload] = self._open.get(workload, 0) + 1
        if self._open[workload] > STREAMS:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"more than {STREAMS} access logs of {workload} are open",
            )

    def _closed(self, workload: Key) -> None:
        left = self._open.get(workload, 0) - 1
        if left > 0:
            self._open[workload] = left
        else:
            self._open.pop(workload, None)
