"""Calls to the control plane's join service: join by a proof, renew by the certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

import grpc
import grpc.aio

from agent.errors import AgentError, JoinRefused, NotOurControlPlane, Unavailable
from agent.identity_store import StoredIdentity
from ca import control_plane
from ca.csr import SigningRequest
from mesh.names import Key
from pb.meshwright.join.v1.join_pb2 import Certificate, JoinRequest, RenewRequest
from pb.meshwright.join.v1.join_pb2_grpc import JoinServiceStub

ProofKind: TypeAlias = Literal["join_token", "jwt", "consul_token", "kubernetes_token"]
"""The fields of JoinRequest that may hold a proof."""
PROOFS: Final[dict[str, ProofKind]] = {name.replace("_", "-"): name for name in get_args(ProofKind)}
"""By their names on the command line."""

CALL_TIMEOUT: Final = 10.0
"""Seconds."""

# The server has decided, and would decide the same again.
_FINAL: Final = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
}
# What gRPC's TLS says of a certificate that it does not accept. It has no status of its own: all are UNAVAILABLE.
_NOT_TRUSTED: Final = (
    "CERTIFICATE_VERIFY_FAILED",
    "certificate verify failed",
    "is not in peer certificate",
    "Hostname Verification Check failed",
)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A port of the control plane. `roots_pem` is the trust bundle that vouches for it."""

    address: str
    trust_domain: str
    roots_pem: bytes = field(repr=False)


async def join(
    server: ControlPlane, kind: ProofKind, shown: str, workload: Key, csr: SigningRequest
) -> Certificate:
    """One try to join as `workload`. Errors: JoinRefused, NotOurControlPlane, Unavailable."""
    request = JoinRequest(
        namespace=workload.namespace,
        workload=workload.name,
        csr=csr.der,
        # A pod is there, and soon discovered, where another workload may be registered much later, or be told its place.
        awaits_locality=kind == "kubernetes_token",
    )
    setattr(request, kind, shown)
    async with channel(server, None) as opened:
        try:
            return await JoinServiceStub(opened).Join(request, timeout=CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            # From None: the traceback of gRPC's error may be logged, and need not show what was sent.
            hint = f"is {server.address} its join address (--join, 15011 by default), and does it run?"
            raise explained(server, error, hint) from None


async def renew(server: ControlPlane, holder: StoredIdentity, csr: SigningRequest) -> Certificate:
    """One try to renew `holder`'s certificate. Errors as `join`."""
    async with channel(server, holder) as opened:
        try:
            return await JoinServiceStub(opened).Renew(RenewRequest(csr=csr.der), timeout=CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            hint = (
                f"is {server.address} its xDS address (--control-plane, 15010 by default), and does it run?"
            )
            raise explained(server, error, hint) from None


def channel(server: ControlPlane, holder: StoredIdentity | None) -> grpc.aio.Channel:
    """A connection that ends unless the server proves to be the control plane of our trust domain.

    gRPC in Python cannot match the SPIFFE id of a server, a URI. So the certificate has to have the DNS name that the authority
    puts into the control plane's certificates and into no workload's, whatever address was dialled.
    """
    credentials = grpc.ssl_channel_credentials(
        root_certificates=server.roots_pem,
        private_key=None if holder is None else holder.key_pem,
        certificate_chain=None if holder is None else holder.chain_pem,
    )
    name = control_plane.server_name(server.trust_domain)
    return grpc.aio.secure_channel(
        server.address,
        credentials,
        options=(
            ("grpc.ssl_target_name_override", name),
            ("grpc.enable_http_proxy", 0),
            # A channel for each try: retries, and their jitter, are the caller's.
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ),
    )


def explained(server: ControlPlane, error: grpc.aio.AioRpcError, hint: str) -> AgentError:
    """`hint` asks for what is wrong where no server of ours has answered."""
    details = error.details() or ""
    debug = error.debug_error_string() or ""
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return JoinRefused(f"the server at {server.address} serves something else ({details}): {hint}")
    if error.code() in _FINAL:
        return JoinRefused(f"the control plane at {server.address} refused: {details}")
    if any(mark in details or mark in debug for mark in _NOT_TRUSTED):
        return NotOurControlPlane(
            f"the server at {server.address} is not the control plane of trust domain {server.trust_domain!r} by the "
            f"trust bundle that was given: check the address, the trust domain and the bundle ({details})"
        )
    return Unavailable(f"the control plane does not answer: {error.code().name}: {details}: {hint}")
