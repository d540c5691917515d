"""Workloads whose proxies are about to end: their callers hear of it first, so that no request finds nobody there.

The protocol is `proto/meshwright/leave/v1/leave.proto`. A workload that has left stays out of service until a proxy of it has its listeners
again, whatever its source says: registries learn late, or never, that a process has ended. It is over, too, when the source removes the workload or
says that it has no sidecar; and some time after the proxy ended, for it may have come back to another control plane over the same store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol, TypeAlias

import grpc
import grpc.aio
import structlog

from mesh.events import Changes
from mesh.names import Key
from meshwright.access_logs import Stale, WhoSpeaks
from meshwright.passages import SETTLE
from meshwright.pipeline import Pipeline
from meshwright.publisher import client_ids
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.meshwright.leave.v1.leave_pb2 import LeaveRequest, LeaveResponse
from pb.meshwright.leave.v1.leave_pb2_grpc import LeaveServiceServicer, add_LeaveServiceServicer_to_server
from xds.client import Peer, peer_of
from xds.errors import Refused
from xds.types import ENDPOINT, LISTENER

EVERY = 0.02
"""Seconds between two looks at what callers have acknowledged, or at whether a proxy that came back has its listeners."""

PATIENCE = 20.0
"""Seconds that callers have, as for any update. Who has not heard by then is told by nobody; its requests are tried elsewhere."""

ENDED = 60.0
"""Seconds after a proxy ended its call from which the source's word counts again. By then registries that check have seen that it is gone."""

ELSEWHERE = 3.0
"""Seconds for callers of other replicas, where those hear from the same source that a workload ends: Kubernetes says so of a pod at the same
time to all, a second later when it has much to do. Here their acknowledgements are not known."""

CALLS = 4
"""Of one workload: an agent makes one."""

Context: TypeAlias = "grpc.aio.ServicerContext[LeaveRequest, LeaveResponse]"

log = structlog.get_logger(__name__)


class Stream(Protocol):
    @property
    def client(self) -> str: ...
    def heard(self, since: float, type_url: str | None = None) -> bool: ...
    def in_sync(self, type_url: str) -> bool: ...
    def subscribes(self, type_url: str) -> bool: ...


class Streams(Protocol):
    """The streams that are open: all, and those of one client."""

    def streams(self) -> Iterable[Stream]: ...
    def streams_of(self, client: str) -> Iterable[Stream]: ...


class Leaving(LeaveServiceServicer):
    """Use it from one event loop. `run` lets those back in whose proxies have come again."""

    def __init__(
        self,
        who: WhoSpeaks,
        stale: Stale,
        pipeline: Pipeline,
        streams: Streams,
        clock: Callable[[], float],
        patience: float = PATIENCE,
        ended: float = ENDED,
        elsewhere: float = 0.0,
    ) -> None:
        """`clock` is that of the streams, in seconds. `elsewhere`: seconds that callers of other replicas are given, whom their source tells."""
        self._who = who
        self._stale = stale
        self._pipeline = pipeline
        self._streams = streams
        self._clock = clock
        self._patience = patience
        self._ended = ended
        self._elsewhere = elsewhere
        self._calls: dict[Key, int] = {}
        # Whether they had sidecars, as their sources said.
        self._left: dict[Key, bool] = {}
        self._back: set[Key] = set()
        # When the source's word counts again, of those whose calls have ended.
        self._until: dict[Key, float] = {}
        self._woken = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        add_LeaveServiceServicer_to_server(self, server)

    def came(self, workload: Key) -> None:
        """A proxy of `workload` has opened a stream. One that is still leaving has lost its connection, and does not come back."""
        if workload in self._left and workload not in self._calls:
            self._back.add(workload)
            self._woken.set()

    def changed(self, changes: Changes) -> None:
        """Told of each event once it is applied. Whom the source removed, or says to have no sidecar, is not held back any more."""
        known = self._pipeline.state.workloads
        left = self._left.keys() & changes.workloads
        if over := {key for key in left if key not in known or (self._left[key] and not known[key].meshed)}:
            self._in(over)

    async def Leave(  # type: ignore[override]  # noqa: N802 - the stubs know only one of the two ways to serve
        self, request: LeaveRequest, context: Context
    ) -> AsyncIterator[LeaveResponse]:
        peer = peer_of(context)
        try:
            workload = self._workload(request, peer)
        except Refused as refused:
            log.warning("leaving refused", peer=peer.address, reason=refused.reason)
            await context.abort(refused.status, refused.reason)
        self._calls[workload] = self._calls.get(workload, 0) + 1
        try:
            self._out(workload)
            log.info("proxy leaves", proxy=str(workload))
            await self._pipeline.settled()
            began = self._clock()
            behind = self._behind(began)
            yield LeaveResponse(lagging=len(behind))
            while behind and self._clock() - began < self._patience:
                await asyncio.sleep(EVERY)
                behind = self._behind(began) & behind
            if not behind:
                # Workers of an Envoy have the endpoints a moment after its main thread, which acknowledges.
                await asyncio.sleep(SETTLE)
            if self._serves(workload):
                await asyncio.sleep(max(0.0, self._elsewhere - (self._clock() - began)))
            if behind:
                log.warning("proxy leaves before all callers have heard", lagging=sorted(behind)[:20])
            yield LeaveResponse(over=True, lagging=len(behind))
            await asyncio.Event().wait()  # until the agent ends the call
        finally:
            self._calls[workload] -= 1
            if not self._calls[workload]:
                del self._calls[workload]
                if workload in self._left:
                    self._until[workload] = self._clock() + self._ended
                    self._woken.set()

    def _serves(self, workload: Key) -> bool:
        """Whether anybody may call it: who only calls, as a job does, need not wait for callers."""
        known = self._pipeline.state.workloads.get(workload)
        return known is not None and bool(known.services)

    def _workload(self, request: LeaveRequest, peer: Peer) -> Key:
        """Who leaves; Refused if it may not."""
        workload, proof = self._who(Node(id=request.node_id), peer)
        if proof is None:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "no client certificate: leave over mutual TLS")
        if why := self._stale(proof):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, why)
        if self._calls.get(workload, 0) >= CALLS:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {CALLS} calls of {workload}")
        return workload

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._pause())
            self._woken.clear()
            if ready := {each for each in self._back if self._listens(each)}:
                self._in(ready)
                log.info("proxies are back", proxies=sorted(map(str, ready)))
            # Who has gone again comes anew.
            self._back = {each for each in self._back if self._streams_of(each)}
            now = self._clock()
            if late := {each for each, until in self._until.items() if until <= now}:
                self._in(late)
                log.info(
                    "proxies have not come back here: their source's word counts",
                    proxies=sorted(map(str, late)),
                )

    def _pause(self) -> float | None:
        """Seconds until something is to be looked at, if nothing comes; None: there is nothing."""
        if self._back:
            return EVERY
        return max(EVERY, min(self._until.values()) - self._clock()) if self._until else None

    def _in(self, workloads: set[Key]) -> None:
        """They are used again, as their source says."""
        self._back -= workloads
        for each in workloads:
            self._left.pop(each, None)
            self._until.pop(each, None)
        self._tell()

    def _out(self, workload: Key) -> None:
        self._back.discard(workload)
        self._until.pop(workload, None)
        # Whom no source declares is nobody's endpoint: what comes under that name later is another.
        if (known := self._pipeline.state.workloads.get(workload)) is not None:
            self._left[workload] = known.meshed
            self._tell()

    def _tell(self) -> None:
        self._pipeline.without(frozenset(self._left))

    def _behind(self, began: float) -> set[str]:
        """The clients that have not acknowledged the endpoints that were published until then."""
        return {each.client for each in self._streams.streams() if not each.heard(began, ENDPOINT)}

    def _listens(self, workload: Key) -> bool:
        return any(
            each.subscribes(LISTENER) and each.in_sync(LISTENER) for each in self._streams_of(workload)
        )

    def _streams_of(self, workload: Key) -> list[Stream]:
        return [stream for client in client_ids(workload) for stream in self._streams.streams_of(client)]
