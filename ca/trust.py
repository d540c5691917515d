"""The trust service: agents follow the trust bundle, say which one they use, and are told to renew in time.

The protocol is `proto/meshwright/trust/v1/trust.proto`. Serve it on the ADS port (mutual TLS). What agents say goes into the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeAlias

import grpc
import grpc.aio

from ca import control_plane
from ca.errors import UnusablePeer
from ca.federation import Federated
from ca.ledger import UNKNOWN_GENERATION, Ledger
from ca.peer import Proved, proved
from ca.rotation import Holder, Leaf, RootId, RotatingAuthority
from ca.times import Clock
from mesh.identity import TrustDomains
from pb.meshwright.trust.v1.trust_pb2 import WatchRequest, WatchResponse
from pb.meshwright.trust.v1.trust_pb2_grpc import TrustServiceServicer

MOST_STREAMS: Final = 8
"""Of one workload: an agent has one, and two for a moment when it has renewed."""
MOST_ROOTS: Final = 64
"""Roots that an agent may say it uses."""
REPORTS_PER_SECOND: Final = 10.0
"""That are read of one stream; an agent makes one for each bundle. Of more, gRPC keeps what fits its window, and then its sender waits."""
LOOK: Final = 3600.0
"""Seconds after which a quiet stream looks whether its certificate has ended: the machine's clock may be set."""

WatchContext: TypeAlias = "grpc.aio.ServicerContext[WatchRequest, Awaitable[WatchResponse]]"

RenewIn: TypeAlias = Callable[[Leaf], "float | None"]
"""Seconds after which the holder of a leaf should renew it, whatever its own plan; None: by its own plan."""

Stale: TypeAlias = Callable[[Proved], "str | None"]
"""Why what a certificate proves no longer holds: it has ended, or its workload is another identity by now. None: it holds."""


@dataclass(slots=True, eq=False)
class _Watcher:
    """One stream. `given`: the roots that were last sent to it, `federated` the bundles of others with them; `used`: those it says it uses; None: nothing yet."""

    holder: Proved
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0
    given: frozenset[RootId] | None = None
    used: frozenset[RootId] | None = None
    federated: Federated = ()
    hastened: int | None = None
    ended: str = ""
    """Why this control plane ends it, if it does."""


class TrustService(TrustServiceServicer):
    """`hasten` says whose leaf is to be renewed before its time, for each generation that signs once."""

    def __init__(
        self,
        authority: RotatingAuthority,
        ledger: Ledger,
        *,
        clock: Clock,
        hasten: RenewIn,
        stale: Stale,
        on_report: Callable[[], None] = lambda: None,
        federated: Callable[[], Federated] = tuple,
        aliases: tuple[str, ...] = (),
    ) -> None:
        """`aliases`: see `mesh.identity.TrustDomains`. `federated`: the bundles of foreign trust domains, as they are now. `on_report` is called when an agent has said something new. It must not block."""
        self._authority = authority
        self._ledger = ledger
        self._clock = clock
        self._hasten = hasten
        self._stale = stale
        self._on_report = on_report
        self._federated = federated
        self._aliases = aliases
        self._watchers: dict[str, set[_Watcher]] = {}
        self._closing = False

    def wake(self) -> None:
        """The authority's bundle, one of a foreign trust domain, or what signs may have changed: tell everybody."""
        for watchers in self._watchers.values():
            for each in watchers:
                each.woken.set()

    def close(self) -> None:
        """End all streams in peace: the agents come back to whoever answers then."""
        self._closing = True
        self.wake()

    def watched(self) -> frozenset[str]:
        """The workloads whose agents are here."""
        return frozenset(self._watchers)

    def told(self, workload: str) -> bool:
        """Whether an agent of `workload` that is here has taken what it was sent, the mesh's trust domains among it."""
        return any(each.used is not None for each in self._watchers.get(workload, ()))

    @property
    def _trust_domains(self) -> TrustDomains:
        return TrustDomains(self._authority.roots().trust_domain, self._aliases)

    def end(self, workload: str, reason: str) -> None:
        """End the streams of `workload`."""
        for each in self._watchers.get(workload, ()):
            each.ended = reason
            each.woken.set()

    def end_stale(self, workload: str | None = None) -> None:
        """End the streams, or those of `workload`, whose certificate no longer proves what it did."""
        for name in (workload,) if workload is not None else tuple(self._watchers):
            for each in self._watchers.get(name, ()):
                if self._stale(each.holder) is not None:
                    each.woken.set()  # and it looks itself

    async def Watch(  # type: ignore[override]  # noqa: N802 - the stubs know only one of the two ways to serve
        self, requests: AsyncIterator[WatchRequest], context: WatchContext
    ) -> AsyncIterator[WatchResponse]:
        watcher = _Watcher(await self._holder(context))
        watchers = self._watchers.setdefault(watcher.holder.node_id, set())
        watchers.add(watcher)
        reader: asyncio.Task[str] | None = None
        try:
            if len(watchers) > MOST_STREAMS:
                await _end(
                    context,
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"more than {MOST_STREAMS} streams of {watcher.holder.node_id}",
                )
            self._enter(watcher.holder)
            reader = asyncio.create_task(
                self._read(watcher, requests), name=f"trust {watcher.holder.node_id}"
            )
            while not reader.done() and not self._closing:
                if (response := self._response(watcher)) is not None:
                    yield response
                await self._woken(watcher, reader)
                if ended := watcher.ended or self._stale(watcher.holder):
                    await _end(context, grpc.StatusCode.UNAUTHENTICATED, ended)
            if reader.done() and (refused := reader.result()):
                await _end(context, grpc.StatusCode.INVALID_ARGUMENT, refused)
        finally:
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(watcher.holder.node_id, None)
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _woken(self, watcher: _Watcher, reader: asyncio.Task[str]) -> None:
        """Until there may be something to tell, the agent has ended its side, or its certificate has."""
        left = (watcher.holder.not_after - self._clock()).total_seconds()
        waking = asyncio.ensure_future(watcher.woken.wait())
        try:
            await asyncio.wait(
                {waking, reader}, timeout=max(0.0, min(left, LOOK)), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waking.cancel()
        watcher.woken.clear()

    async def _read(self, watcher: _Watcher, requests: AsyncIterator[WatchRequest]) -> str:
        """Take what the agent says until it ends, as fast as it may speak; why it is refused, if it is."""
        async for request in requests:
            if refused := self._take(watcher, request):
                return refused
            await asyncio.sleep(1 / REPORTS_PER_SECOND)
        return ""

    def _take(self, watcher: _Watcher, request: WatchRequest) -> str:
        if len(request.roots_sha256) > MOST_ROOTS or any(len(each) != 32 for each in request.roots_sha256):
            return f"roots_sha256 is not up to {MOST_ROOTS} SHA-256 sums"
        self._ledger.confirmed(watcher.holder.serial)
        if request.number != watcher.number:
            return ""  # said before it took what was sent last: it will say more
        watcher.used = frozenset(each.hex() for each in request.roots_sha256)
        leaf = self._ledger.find(watcher.holder.serial)
        if leaf is not None:
            self._ledger.acknowledged(leaf.family, watcher.used, self._authority.rotation.bundle)
        watcher.woken.set()
        self._on_report()
        return ""

    def _response(self, watcher: _Watcher) -> WatchResponse | None:
        """What is to be sent; None if the agent has been told everything."""
        rotation = self._authority.rotation
        current = frozenset(rotation.bundle)
        leaf = self._ledger.find(watcher.holder.serial)
        hasten = None
        if leaf is not None and watcher.hastened != rotation.signing:
            hasten = self._hasten(leaf)
        federated = self._federated()
        # The first answer also tells the agent that it is followed.
        if (watcher.given, watcher.federated) == (current, federated) and hasten is None:
            return None
        watcher.given, watcher.federated = current, federated
        watcher.number += 1
        made = WatchResponse(
            number=watcher.number,
            roots_pem=self._authority.roots().pem,
            trust_domains=self._trust_domains.all,
        )
        for each in federated:
            made.federated.add(trust_domain=each.trust_domain, roots_pem=each.pem)
        if hasten is not None:
            watcher.hastened = rotation.signing
            made.renew_after_ms = int(hasten * 1000)
        return made

    def _enter(self, holder: Proved) -> None:
        """A leaf that the ledger does not know, of before there was one."""
        if self._ledger.find(holder.serial) is not None:
            return
        self._ledger.issued(
            Leaf(
                serial=holder.serial,
                holder=Holder.AGENT,
                workload=holder.node_id,
                family=f"leaf/{holder.serial:x}",
                generation=UNKNOWN_GENERATION,
                not_after=holder.not_after,
                trust_domain=holder.identity.trust_domain,
            )
        )

    async def _holder(self, context: WatchContext) -> Proved:
        pem = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
        if pem is None:
            await _end(
                context, grpc.StatusCode.UNAUTHENTICATED, "no client certificate: watch over mutual TLS"
            )
        try:
            holder = proved(pem)
        except UnusablePeer as error:
            await _end(context, grpc.StatusCode.UNAUTHENTICATED, str(error))
        ours = self._trust_domains
        if holder.identity.trust_domain not in ours.all or control_plane.is_control_plane(holder.identity):
            await _end(
                context, grpc.StatusCode.PERMISSION_DENIED, f"{holder.identity} is no workload of {ours.own}"
            )
        if reason := self._stale(holder):
            await _end(context, grpc.StatusCode.UNAUTHENTICATED, reason)
        return holder


async def _end(context: WatchContext, status: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(status, reason)
    raise AssertionError("abort() never returns")
