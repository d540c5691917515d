"""The join service: a proof and a CSR in, a certificate out; and the renewal of what was given.

The protocol is `proto/meshwright/join/v1/join.proto`. Who the caller is comes from the proof alone (Join: what it shows, see
`ca.proof`; Renew: the certificate of the connection), never from the CSR, which carries a key and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio
from cryptography.hazmat.primitives import serialization

from ca import control_plane
from ca.authority import LEAF_LIFETIME, Authority, LeafRequest
from ca.csr import SigningRequest, check_csr
from ca.errors import (
    AuthorityError,
    CaError,
    CsrRefused,
    NotProved,
    ProvedAnother,
    UnusablePeer,
)
from ca.peer import Proved, proved, workload_key
from ca.proof import Claim, Proof
from ca.proof_limit import ProofLimit
from ca.rate_limit import AttemptLimit, peer_host
from ca.times import Chance, Clock, renewal_time
from ca.tokens import key_id_of
from mesh.errors import InvalidName
from mesh.identity import Identity, TrustDomains
from mesh.names import Key
from mesh.workload import Locality
from pb.meshwright.join.v1 import join_pb2
from pb.meshwright.join.v1.join_pb2 import Certificate, JoinRequest, RenewRequest
from pb.meshwright.join.v1.join_pb2_grpc import JoinServiceServicer

ExpectedIdentity: TypeAlias = Callable[[Key], Identity | None]
"""The identity that discovery gives a workload; None while it is not discovered."""

Locate: TypeAlias = Callable[[Key, bool], Awaitable[Locality]]
"""Where discovery says that a workload is. True: it may wait for a workload that is not discovered yet, for a part of a call's time."""


async def nowhere(workload: Key, awaits: bool) -> Locality:
    """Where nothing is known of places."""
    del workload, awaits
    return Locality()


class Outcome(StrEnum):
    JOINED = "joined"
    RENEWED = "renewed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class JoinEvent:
    """What came of an attempt, for logs and metrics. `reason` is safe to log: it never quotes a token or a key."""

    outcome: Outcome
    peer: str
    workload: str
    identity: str = ""
    status: str = "OK"
    reason: str = ""
    by: str = ""
    """What proved it: `ca.proof.Claim.by`."""


class _Refused(Exception):
    """An attempt that ends with `status`; `args[0]` is said to the caller, and logged unless `logged` says more."""

    def __init__(self, status: grpc.StatusCode, reason: str, logged: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.logged = logged or reason


JoinContext: TypeAlias = "grpc.aio.ServicerContext[JoinRequest, Awaitable[Certificate]]"
RenewContext: TypeAlias = "grpc.aio.ServicerContext[RenewRequest, Awaitable[Certificate]]"


class JoinService(JoinServiceServicer):
    """Serve it on the join port (TLS) for Join, and on the ADS port (mutual TLS) for Renew.

    `proofs` are by the name of their field in JoinRequest. `expected_identity` is asked for each workload; `on_event` is told of every outcome and must not block nor raise.
    """

    def __init__(
        self,
        authority: Authority,
        proofs: Mapping[str, Proof],
        *,
        clock: Clock,
        chance: Chance,
        limit: AttemptLimit,
        proof_limit: ProofLimit,
        expected_identity: ExpectedIdentity,
        on_event: Callable[[JoinEvent], None],
        lifetime: timedelta = LEAF_LIFETIME,
        aliases: tuple[str, ...] = (),
        locate: Locate = nowhere,
    ) -> None:
        """`aliases`: see `mesh.identity.TrustDomains`."""
        self._authority = authority
        self._aliases = aliases
        self._proofs = proofs
        self._clock = clock
        self._chance = chance
        self._limit = limit
        self._proof_limit = proof_limit
        self._expected_identity = expected_identity
        self._on_event = on_event
        self._lifetime = lifetime
        self._locate = locate

    async def Join(self, request: JoinRequest, context: JoinContext) -> Certificate:  # noqa: N802
        peer = peer_host(context.peer())
        name = f"{request.namespace[:64]}/{request.workload[:256]}"
        try:
            self._admit(peer)
            certificate, by, workload = await self._join(request)
        except _Refused as refused:
            await self._refuse(context, peer, name, refused)
        self._limit.succeeded(peer)
        self._on_event(JoinEvent(Outcome.JOINED, peer, name, certificate.identity, by=by))
        await self._place(certificate, workload, awaits=request.awaits_locality)
        return certificate

    async def Renew(self, request: RenewRequest, context: RenewContext) -> Certificate:  # noqa: N802
        peer = peer_host(context.peer())
        name = ""
        try:
            holder = self._holder(context)
            name = holder.node_id
            self._admit(name, in_all=False)
            csr = _checked(request.csr)
            self._compare(holder.workload, holder.identity)
            certificate = await self._issue(holder.identity, holder.workload, csr, renews=holder.serial)
        except _Refused as refused:
            await self._refuse(context, peer, name, refused)
        # Not given back to the limit: a proxy that renews in a loop is held to its rate.
        self._on_event(JoinEvent(Outcome.RENEWED, peer, name, certificate.identity))
        await self._place(certificate, holder.workload, awaits=False)
        return certificate

    def _admit(self, who: str, *, in_all: bool = True) -> None:
        if not self._limit.attempt(who, in_all=in_all):
            raise _Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many attempts by {who}, or in all: try again later"
            )

    async def _place(self, certificate: Certificate, workload: Key, *, awaits: bool) -> None:
        """Say in the answer where its workload is."""
        found = await self._locate(workload, awaits)
        said = join_pb2.Locality(region=found.region, zone=found.zone, sub_zone=found.sub_zone)
        certificate.locality.CopyFrom(said)

    async def _join(self, request: JoinRequest) -> tuple[Certificate, str, Key]:
        csr = _checked(request.csr)
        try:
            workload = workload_key(request.namespace, request.workload)
        except InvalidName as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        kind = request.WhichOneof("proof")
        proof = None if kind is None else self._proofs.get(kind)
        if kind is None or proof is None:
            known = ", ".join(name.replace("_", " ") for name in self._proofs)
            raise _Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                f"{'no proof was shown' if kind is None else f'{kind} is no proof here'}: this mesh takes: {known}",
            )
        shown = str(getattr(request, kind))
        key_id = key_id_of(
            csr.public_key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        # What can be refused is refused before a use of the proof is counted.
        claim = await _proof(kind, proof.verify(shown, workload, key_id))
        self._compare(workload, self._identity(claim))
        if reason := self._proof_limit.refusal(claim):
            raise _Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        claim = await _proof(kind, proof.redeem(shown, workload, key_id))
        return await self._issue(self._identity(claim), workload, csr), claim.by, workload

    def _identity(self, claim: Claim) -> Identity:
        identity = Identity(self._trust_domains.own, claim.workload.namespace, claim.service_account)
        if control_plane.is_control_plane(identity):
            raise _Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{identity} is the control plane's own: no workload has it",
            )
        return identity

    def _compare(self, workload: Key, identity: Identity) -> None:
        """Refuse an identity that is not the one discovery gives the workload. Not discovered yet: ADS will wait for it."""
        expected = self._expected_identity(workload)
        if expected is not None and expected != identity:
            raise _Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"workload {workload} has the service account {expected.service_account!r} where it is registered, "
                f"and {identity.service_account!r} by this proof: change one of them",
            )

    def _holder(self, context: RenewContext) -> Proved:
        """Whom the connection's client certificate was issued to. The handshake verified it against our roots."""
        pems = context.auth_context().get("x509_pem_cert", ())
        pem = next(iter(pems), None)
        if pem is None:
            raise _Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "no client certificate: renew over mutual TLS, or join",
            )
        try:
            holder = proved(pem)
        except UnusablePeer as error:
            raise _Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error
        if holder.not_after <= self._clock():  # the handshake may be long ago
            raise _Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                f"the client certificate ended at {holder.not_after}: join again",
            )
        return replace(holder, identity=self._trust_domains.own_name(holder.identity))

    @property
    def _trust_domains(self) -> TrustDomains:
        return TrustDomains(self._authority.roots().trust_domain, self._aliases)

    async def _issue(
        self, identity: Identity, workload: Key, csr: SigningRequest, renews: int | None = None
    ) -> Certificate:
        try:
            request = LeafRequest(identity, csr, workload, self._lifetime, renews=renews)
            issued = await self._authority.issue(request)
        except (AuthorityError, OSError) as error:
            raise _unable("issue certificates", error) from error
        return Certificate(
            chain_pem=issued.chain_pem,
            roots_pem=self._authority.roots().pem,
            renew_at=int(renewal_time(issued.issued, issued.not_after, self._chance()).timestamp()),
            identity=identity.uri,
            trust_domains=self._trust_domains.all,
        )

    async def _refuse(
        self, context: JoinContext | RenewContext, peer: str, name: str, refused: _Refused
    ) -> NoReturn:
        self._on_event(JoinEvent(Outcome.REFUSED, peer, name, "", refused.status.name, refused.logged))
        await context.abort(refused.status, str(refused))
        raise AssertionError("abort() never returns")


async def _proof(kind: str, judged: Awaitable[Claim]) -> Claim:
    try:
        return await judged
    except ProvedAnother as error:
        raise _Refused(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
    except NotProved as error:
        raise _Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error
    except (CaError, OSError) as error:
        raise _unable(f"check {kind.replace('_', ' ')}s", error) from error


def _unable(what: str, error: Exception) -> _Refused:
    """The server's own trouble: its reason names the server's files, so it is logged, and the caller is not told."""
    return _Refused(
        grpc.StatusCode.UNAVAILABLE,
        f"the control plane cannot {what} now: see its log",
        f"cannot {what}: {error}",
    )


def _checked(der: bytes) -> SigningRequest:
    try:
        return check_csr(der)
    except CsrRefused as error:
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
