"""CSDS: what each client is given and what it acknowledged, for tools that speak it (`grpcdebug`, for example).

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto. Bodies of secrets are never shown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import any_pb2

from pb.envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from pb.envoy.service.status.v3.csds_pb2 import (
    ERROR,
    NOT_SENT,
    STALE,
    SYNCED,
    ClientConfig,
    ClientStatusRequest,
    ClientStatusResponse,
)
from pb.envoy.service.status.v3.csds_pb2_grpc import (
    ClientStatusDiscoveryServiceServicer,
    add_ClientStatusDiscoveryServiceServicer_to_server,
)
from pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds.cache import wanted
from xds.client import peer_of
from xds.state import TypeState
from xds.types import SECRET

if TYPE_CHECKING:
    from xds.server import XdsServer
    from xds.stream import Stream

TEXTS: dict[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}
"""How a StringMatcher compares a text with its pattern."""


class Csds(ClientStatusDiscoveryServiceServicer):
    """Answers about the streams that `XdsServer.may_see` lets the caller see."""

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    async def StreamClientStatus(  # noqa: N802 (gRPC's name)
        self, request_iterator: AsyncIterator[ClientStatusRequest], context: Any
    ) -> AsyncIterator[ClientStatusResponse]:
        async for request in request_iterator:
            await _check(request, context)
            yield self._answer(request, context)

    async def FetchClientStatus(  # noqa: N802 (gRPC's name)
        self, request: ClientStatusRequest, context: Any
    ) -> ClientStatusResponse:
        await _check(request, context)
        return self._answer(request, context)

    def _answer(self, request: ClientStatusRequest, context: Any) -> ClientStatusResponse:
        caller = peer_of(context)
        response = ClientStatusResponse()
        for stream in self._server.streams():
            if self._server.may_see(caller, stream) and _asked_for(stream, request):
                describe(
                    stream, self._server, response.config.add(), bodies=not request.exclude_resource_contents
                )
        return response


async def _check(request: ClientStatusRequest, context: Any) -> None:
    """Nodes are chosen by their id as text: a regular expression of a client's making could stop the server."""
    for matcher in request.node_matchers:
        if matcher.node_metadatas or matcher.node_id.WhichOneof("match_pattern") not in {None, *TEXTS}:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"node_matchers take node_id alone, by one of: {', '.join(TEXTS)}",
            )


def _asked_for(stream: Stream, request: ClientStatusRequest) -> bool:
    """Any of the matchers is enough; no matcher is every node."""
    return not request.node_matchers or any(
        _matches(matcher.node_id, stream.node_id) for matcher in request.node_matchers
    )


def _matches(matcher: StringMatcher, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind is None:
        return True
    pattern = str(getattr(matcher, kind))
    if matcher.ignore_case:
        pattern, text = pattern.lower(), text.lower()
    return TEXTS[kind](text, pattern)


def add_csds(server: XdsServer, to: grpc.aio.Server) -> None:
    add_ClientStatusDiscoveryServiceServicer_to_server(Csds(server), to)


def describe(stream: Stream, server: XdsServer, config: ClientConfig, *, bodies: bool) -> None:
    """Fill `config` with each resource that the stream is to have: its version, and what came of it."""
    config.node.id = stream.node_id
    config.client_scope = stream.client
    for type_url, state in stream.session.states.items():
        maps = server.cache.maps(stream.session.scopes, type_url, state.subscription)
        for name, resource in wanted(maps, state.subscription):
            entry = config.generic_xds_configs.add(
                type_url=type_url, name=name, version_info=resource.version, is_static_resource=False
            )
            _judge(entry, state, name, resource.version)
            if bodies and type_url != SECRET:
                entry.xds_config.CopyFrom(any_pb2.Any(type_url=type_url, value=resource.body))


def _judge(entry: ClientConfig.GenericXdsConfig, state: TypeState, name: str, version: str) -> None:
    flight = state.in_flight
    if state.quarantine.get(name) == version and state.refusal is not None:
        entry.config_status, entry.client_status = ERROR, ClientResourceStatus.NACKED
        entry.error_state.details = state.refusal.message
        entry.error_state.version_info = version
    elif flight is not None and name in flight.names:
        entry.config_status, entry.client_status = STALE, ClientResourceStatus.REQUESTED
    elif (
        state.unplanned is not None
        or name in state.dirty
        or any(name in chunk.names for _, chunk in state.queue)
    ):
        entry.config_status, entry.client_status = NOT_SENT, ClientResourceStatus.REQUESTED
    else:
        entry.config_status, entry.client_status = SYNCED, ClientResourceStatus.ACKED
