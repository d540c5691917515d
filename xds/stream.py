"""The thin shell around a session: one gRPC stream. Nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from xds.client import Client, Peer, peer_of
from xds.delta import DeltaSession
from xds.errors import ProtocolViolation, Refused
from xds.session import Session
from xds.sotw import SotwSession
from xds.state import Refusal, TypeState
from xds.status import ClientStatus, TypeStatus
from xds.types import CLUSTER, ENDPOINT, SECRET

if TYPE_CHECKING:
    from xds.server import XdsServer

Context = grpc.aio.ServicerContext[bytes, bytes]
Request = TypeVar("Request", bound=DiscoveryRequest | DeltaDiscoveryRequest)
NODE_SIZE = 256 * 1024
"""Bytes of a Node that are taken: real ones have some 60 KB, for Envoy lists its extensions."""

REFUSALS, PAUSE = 32, 0.2
"""How many more responses a client may refuse than acknowledge before it gets them at intervals of so many seconds. Each refusal is
work, for its response is halved; finding one culprit among thousands takes a dozen, and about as many acknowledgements.
"""

LAST_WORDS = 1.0
"""Seconds that a client has to take what is on its way when its stream ends."""

FIRST = frozenset({CLUSTER, ENDPOINT})
WITHHELD = 100
"""Names of secrets that one stream has asked for in vain and that are told."""
TURN = 10
"""How many times the silence that a client is allowed its whole turn may last."""


async def serve_stream(server: XdsServer, context: Context, only_type: str | None, *, delta: bool) -> None:
    """Serve one stream from its first request to its end."""
    stream: Stream | None = None
    node_id, peer = "", peer_of(context)
    try:
        data = await _read(context)
        if data is None:
            return
        first = _parsed(DeltaDiscoveryRequest.FromString if delta else DiscoveryRequest.FromString, data)
        node_id = first.node.id
        _check_node(first.node)
        client = await server.identify(first.node, peer)
        stream = Stream(server, context, client, first.node, peer, only_type, delta=delta)
        server.add(stream)
        await stream.run(first)
    except Refused as refused:
        server.observer.refused(peer.address, node_id, refused.status, refused.reason)
        await context.abort(refused.status, refused.reason)
    except ProtocolViolation as violation:
        server.observer.refused(peer.address, node_id, grpc.StatusCode.INVALID_ARGUMENT, str(violation))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(violation))
    finally:
        if stream is not None:
            stream.close()


class Stream:
    """A stream that has been identified."""

    def __init__(
        self,
        server: XdsServer,
        context: Context,
        client: Client,
        node: Node,
        peer: Peer,
        only_type: str | None,
        *,
        delta: bool,
    ) -> None:
        self.client = client.id
        self.proof = client.proof
        self.peer = peer
        self.protocol = "delta" if delta else "sotw"
        self.connected_at = server.clock()
        self.node_id = node.id
        self.agent = _summary(node)
        self._server = server
        self._context = context
        self._delta = delta
        self._is_woken = False
        self._next: tuple[str, int, bytes] | None = None
        self._sleeping: asyncio.Future[None] | None = None
        self._wake = self._wake_up  # one object: the cache tells callers apart by it
        self._stopping = self._took_turn = self._has_turn = False
        self._refusals = 0
        self._withheld: set[str] = set()
        self._turn_began = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = self._looked_at = 0.0
        self._turn_ends: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: str | None = None
        kind = DeltaSession if delta else SotwSession
        self.session: Session = kind(
            server.cache,
            client.scopes,
            only_type=only_type,
            limits=server.settings.limits,
            ack_timeout=server.settings.ack_timeout,
            on_marked=self._wake,
            on_acknowledged=self._on_acknowledged,
            on_refused=self._on_refused,
            on_converged=server.converged,
        )
        server.cache.when_ready(client.scopes, self._wake)

    async def run(self, first: DiscoveryRequest | DeltaDiscoveryRequest) -> None:
        """Until the client ends the stream, or `end` is called: then Refused, with the reason."""
        self._task = asyncio.current_task()
        writer = asyncio.create_task(self._write_when_woken(), name=f"xds writer {self.client}")
        writer.add_done_callback(self._writer_ended)
        request: DiscoveryRequest | DeltaDiscoveryRequest | None = first
        try:
            while request is not None:
                self._receive(request)
                self._look()
                data = await _read(self._context)
                request = None if data is None else _parsed(self.session.parse, data)
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            raise Refused(grpc.StatusCode.UNAVAILABLE, self._ending) from None
        finally:
            await self._stop(writer)

    async def _stop(self, writer: asyncio.Task[None]) -> None:
        """Let the message that is being written go out: gRPC takes no status before that.

        CancelledError for a client that does not take it, and so can be told nothing.
        """
        self._stopping = True
        self._wake_up()
        try:
            await asyncio.wait({writer}, timeout=LAST_WORDS)
        finally:
            writer.cancel()
        await writer  # raises what broke it, if something did

    def rescope(self, scopes: tuple[Hashable, ...]) -> None:
        self._server.cache.forget(self.session.scopes, self._wake)
        self.session.rescope(scopes)
        self._server.cache.when_ready(scopes, self._wake)
        self._wake_up()

    def end(self, reason: str) -> None:
        self._ending = reason
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """The stream has ended, however it did."""
        self._end_turn()
        if self._alarm is not None:
            self._alarm.cancel()
        self._server.pace.forget(self._wake)
        self._server.cache.forget(self.session.scopes, self._wake)
        self.session.close()
        self._server.remove(self)

    def status(self, now: float) -> ClientStatus:
        return ClientStatus(
            id=self.client,
            node_id=self.node_id,
            peer=self.peer.address,
            agent=self.agent,
            protocol=self.protocol,
            connected_at=self.connected_at,
            waiting=not self._server.cache.ready(self.session.scopes),
            types=tuple(self._type_status(state, now) for state in self.session.states.values()),
        )

    def in_sync(self, type_url: str) -> bool:
        """Whether all that was sent of a type is acknowledged, and nothing of it held back."""
        state = self.session.states.get(type_url)
        return state is None or (state.idle and not state.quarantine)

    @property
    def holds_back(self) -> bool:
        """Whether the client has refused something that it is not given again."""
        return any(state.quarantine for state in self.session.states.values())

    def subscribes(self, type_url: str) -> bool:
        """Whether the client has asked for anything of a type."""
        return type_url in self.session.states

    def heard(self, since: float, type_url: str | None = None) -> bool:
        """Whether what was published until `since`, of one type or of all, is acknowledged or refused; whatever has come after it."""
        if type_url is None:
            return self.session.heard(since)
        state = self.session.states.get(type_url)
        return state is None or state.heard(since)

    def _type_status(self, state: TypeState, now: float) -> TypeStatus:
        flight, late = state.in_flight, self._server.settings.ack_timeout
        return TypeStatus(
            type_url=state.type_url,
            subscribed=None if state.subscription.wildcard else len(state.subscription.names),
            responses=state.responses,
            acknowledged=state.acknowledged,
            version=state.version,
            acknowledged_version=state.acknowledged_version,
            in_sync=state.idle and not state.quarantine,
            pending=state.pending(),
            held_back=tuple(sorted(state.quarantine)),
            late=flight is not None and now - flight.sent_at > late,
            refusal=state.refusal,
        )

    def _receive(self, request: DiscoveryRequest | DeltaDiscoveryRequest) -> None:
        if request.HasField("node") and request.node.id and request.node.id != self.node_id:
            raise ProtocolViolation(f"node.id changed from {self.node_id!r} on an open stream")
        now = self._server.clock()
        if request.type_url in FIRST and not self._has_turn:
            self._server.pace.first_matters()
        if isinstance(self.session, DeltaSession):
            assert isinstance(request, DeltaDiscoveryRequest)  # noqa: S101 (read so)
            self.session.receive(request, now)
        else:
            assert isinstance(self.session, SotwSession)  # noqa: S101 (there are two)
            assert isinstance(request, DiscoveryRequest)  # noqa: S101 (read so)
            self.session.receive(request, now)
        if request.type_url == SECRET:
            self._tell_withheld()

    def _tell_withheld(self) -> None:
        """Somebody who asks for a secret that is not its own gets nothing, as if there were none; it is told all the same."""
        if not self._server.cache.ready(self.session.scopes):
            return
        names = self.session.missing(SECRET) - self._withheld
        if names and len(self._withheld) < WITHHELD:
            self._withheld |= names
            self._server.observer.withheld(self.client, SECRET, tuple(sorted(names)[:WITHHELD]))

    def _wake_up(self) -> None:
        """Let the writer look what there is to send."""
        self._is_woken = True
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    def _writer_ended(self, writer: asyncio.Task[None]) -> None:
        """A stream without its writer would never again be told of a change: it ends, and the client comes back."""
        if not self._stopping and not writer.cancelled() and self._task is not None:
            self._task.cancel()

    async def _write_when_woken(self) -> None:
        """Apart from reading: a client that takes nothing may still speak, and end its stream."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            if not self._is_woken:
                self._sleeping = loop.create_future()
                await self._sleeping
                self._sleeping = None
            self._is_woken = False
            try:
                await self._write()
            except grpc.aio.InternalError:
                return  # the client is gone

    async def _write(self) -> None:
        """Send what there is to send."""
        while not self._stopping:
            if self._refusals > REFUSALS:
                await asyncio.sleep(PAUSE)
            await self._take_turn()
            response, self._next = self._next or self._poll(), None
            if response is None:
                break
            self._took_turn = True
            type_url, resources, body = response
            await self._context.write(body)
            self._server.observer.sent(self.client, type_url, resources, len(body))
            self._limit_turn()
        self._rest()

    def _look(self) -> None:
        """As the writer would, which is not woken for nothing: after most requests there is nothing to send."""
        if self._sleeping is None or self._is_woken or not self._took_turn or self._refusals > REFUSALS:
            self._wake_up()
            return
        self._next = self._poll()
        if self._next is None:
            self._rest()
        else:
            self._wake_up()

    def _poll(self) -> tuple[str, int, bytes] | None:
        pace = self._server.pace
        self._looked_at = self._server.clock()
        response = self.session.poll(self._looked_at, hurried=not self._has_turn and pace.hurried())
        if response is None:
            if self.session.yields:
                pace.later(self._wake)
        elif response[0] in FIRST and not self._has_turn:
            pace.first_matters()
        return response

    def _rest(self) -> None:
        """There is nothing to send for now."""
        if self.session.settled or not self._took_turn:
            self._end_turn()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Look again when an answer is overdue. An alarm that is set is left alone: an ACK does not need to unset it."""
        if self._alarm is not None and not self.session.impatient:
            return
        due = self.session.poll_at()
        # What was due when it was last looked is taken care of; what has become due since then is not.
        if due is None or due <= self._looked_at or (self._alarm is not None and due >= self._alarm_at):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        pause = max(0.0, due - self._server.clock())
        self._alarm = asyncio.get_running_loop().call_later(pause, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._wake_up()

    async def _take_turn(self) -> None:
        """First configurations are large: only so many are on their way at the same time.

        A response is made when it is the client's turn, not before: those who wait hold no bytes.
        """
        if self._took_turn or self._has_turn or not self._server.cache.ready(self.session.scopes):
            return
        await self._server.first_turns.acquire()
        self._has_turn = True
        self._turn_began = self._server.clock()
        self._limit_turn()

    def _limit_turn(self) -> None:
        """A client that says nothing, or takes nothing, or is never content does not keep the others waiting."""
        if not self._has_turn:
            return
        if self._turn_ends is not None:
            self._turn_ends.cancel()
        silence = self._server.settings.first_configuration_silence
        left = self._turn_began + TURN * silence - self._server.clock()
        self._turn_ends = asyncio.get_running_loop().call_later(min(silence, left), self._end_turn)

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._server.first_turns.release()
        if self._turn_ends is not None:
            self._turn_ends.cancel()
            self._turn_ends = None

    def _on_acknowledged(self, type_url: str) -> None:
        self._refusals = max(0, self._refusals - 1)
        self._server.observer.acknowledged(self.client, type_url)

    def _on_refused(self, type_url: str, refusal: Refusal) -> None:
        self._refusals += 1
        self._end_turn()  # what is left of it goes piece by piece
        self._server.observer.rejected(self.client, type_url, refusal)


async def _read(context: Context) -> bytes | None:
    """The next request; None at the end of the stream."""
    data: object = await context.read()
    return data if isinstance(data, bytes) else None  # grpc.aio.EOF


def _parsed(parse: Callable[[bytes], Request], data: bytes) -> Request:
    try:
        return parse(data)
    except DecodeError as error:
        raise ProtocolViolation("a message that is no discovery request of this method") from error


def _check_node(node: Node) -> None:
    if node.ByteSize() > NODE_SIZE:
        raise ProtocolViolation(f"a node of more than {NODE_SIZE} bytes")


def _summary(node: Node) -> str:
    """What the client is, in a few words."""
    version = node.user_agent_build_version.version
    number = (
        f"{version.major_number}.{version.minor_number}.{version.patch}"
        if node.HasField("user_agent_build_version")
        else node.user_agent_version
    )
    return f"{node.user_agent_name} {number}".strip()[:100]
