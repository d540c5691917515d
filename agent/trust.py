"""Following the mesh's trust bundle: a stream to the control plane, held open, by which roots are rotated without a restart.

The protocol is `proto/meshwright/trust/v1/trust.proto`. While the control plane is away the agent goes on with what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio
from cryptography import x509
from structlog.typing import FilteringBoundLogger

from agent.backoff import Backoff
from agent.errors import AgentError, DamagedIdentity, JoinRefused, Unavailable
from agent.identity_store import StoredIdentity
from agent.join import ControlPlane, channel, explained
from agent.renew import CertificateKeeper, Membership, Sleep
from agent.stopping import first
from ca.certificate import fingerprint
from ca.errors import UnusableBundle
from ca.federation import Federated, in_order, parse_file
from ca.times import Chance
from pb.meshwright.trust.v1.trust_pb2 import WatchRequest, WatchResponse
from pb.meshwright.trust.v1.trust_pb2_grpc import TrustServiceStub

REFUSED_PAUSE = 60.0
"""Seconds after the control plane refused, or did not know what was asked for: an older one does not."""


InUse = Callable[[], Awaitable[None]]
Watching: TypeAlias = "grpc.aio.StreamStreamCall[WatchRequest, WatchResponse]"


async def at_once() -> None:
    """For an agent that serves nobody."""


class TrustWatch:
    """Gives the keeper each new bundle, and the control plane's wish for a renewal."""

    def __init__(
        self,
        membership: Membership,
        keeper: CertificateKeeper,
        *,
        chance: Chance,
        log: FilteringBoundLogger,
        sleep: Sleep = asyncio.sleep,
        in_use: InUse = at_once,
    ) -> None:
        """`in_use` returns once everybody whom the agent serves uses what the keeper holds: the control plane is told nothing before."""
        self._in_use = in_use
        self._membership = membership
        self._keeper = keeper
        self._log = log
        self._sleep = sleep
        self._backoff = Backoff(chance, first=0.2, maximum=10.0)
        self._followed = True

    async def run(self) -> NoReturn:
        """Follow the bundle with each certificate that the keeper comes to hold, without end. No failure ends it."""
        while True:
            held, renewed = self._keeper.held
            try:
                await self._follow(held, renewed)
            except (AgentError, OSError) as error:
                delay = REFUSED_PAUSE if isinstance(error, JoinRefused) else self._backoff.next()
                if self._followed:  # one line for each time that it is away
                    self._log.info("the trust bundle is not followed now", reason=str(error))
                self._followed = False
                await first(self._sleep(delay), renewed.wait())

    async def _follow(self, held: StoredIdentity, renewed: asyncio.Event) -> None:
        """Until another certificate has taken the place of `held`, with which the next stream is opened."""
        membership = self._membership
        server = ControlPlane(membership.renew_address, held.identity.trust_domain, held.roots_pem)
        async with channel(server, held) as opened:
            call = TrustServiceStub(opened).Watch()
            taken: asyncio.Queue[int] = asyncio.Queue()
            taken.put_nowait(0)  # what it has; a control plane of before answers nobody who has said nothing
            try:
                await first(self._read(call, taken), self._tell(call, taken, renewed), renewed.wait())
            except grpc.aio.AioRpcError as error:
                hint = f"is {server.address} its xDS address (--control-plane, 15010 by default)?"
                raise explained(server, error, hint) from None
            finally:
                call.cancel()

    async def _read(self, call: Watching, taken: asyncio.Queue[int]) -> NoReturn:
        """Take each bundle, also while the one before is not in use: whoever does not get on with that may do with the next."""
        while isinstance(answer := await call.read(), WatchResponse):
            await self._take(answer)
            taken.put_nowait(answer.number)
        raise Unavailable("the control plane ended the stream of trust bundles")

    async def _tell(self, call: Watching, taken: asyncio.Queue[int], renewed: asyncio.Event) -> None:
        """Say of the last bundle that was taken, and so of the certificate of this stream, that they are in use, once they are."""
        while True:
            number = await taken.get()
            await self._in_use()
            if renewed.is_set():
                return
            if not taken.empty():
                continue
            try:
                await call.write(self._using(number))
            except asyncio.InvalidStateError:
                await asyncio.Future()  # the stream has ended meanwhile: `_read` tells how

    async def _take(self, answer: WatchResponse) -> None:
        if not self._followed:
            self._log.info("the trust bundle is followed again")
        self._followed = True
        self._backoff.reset()
        await self._keeper.take_bundle(answer.roots_pem, self._federated(answer), answer.trust_domains)
        if answer.HasField("renew_after_ms"):
            self._keeper.hasten(answer.renew_after_ms / 1000)

    def _federated(self, answer: WatchResponse) -> Federated:
        own = dict.fromkeys((self._membership.trust_domain, *answer.trust_domains))
        try:
            return in_order(
                (parse_file(each.roots_pem, each.trust_domain) for each in answer.federated), *own
            )
        except (UnusableBundle, ValueError) as error:
            raise DamagedIdentity(
                f"what the control plane says of foreign trust domains cannot be used: {error}"
            ) from error

    def _using(self, number: int) -> WatchRequest:
        held, _ = self._keeper.held
        return WatchRequest(roots_sha256=_sums(held.roots_pem), number=number)


def _sums(roots_pem: bytes) -> list[bytes]:
    return [bytes.fromhex(fingerprint(each)) for each in x509.load_pem_x509_certificates(roots_pem)]
