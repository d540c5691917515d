"""What a certificate authority is to the rest of the program: two methods, so that siblings can follow."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ca.csr import SigningRequest
from mesh.identity import Identity
from mesh.names import Key

LEAF_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """A leaf certificate to issue.

    `workload` is the one it is issued to: its key, `<namespace>/<workload>`, is the certificate's subject UID and the
    `node.id` of its proxy; None for the control plane itself. `dns_names` and `addresses` are for the control plane's own
    server certificates: a workload never has any. `renews`: the serial of the leaf that the requester holds, if it does; `delivered`:
    the key was made here, and goes to the workload's Envoy over SDS. Both are for the ledger alone.
    """

    identity: Identity
    csr: SigningRequest
    workload: Key | None = None
    lifetime: timedelta = LEAF_LIFETIME
    dns_names: tuple[str, ...] = ()
    addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = ()
    renews: int | None = None
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """`chain_pem` is the leaf and its intermediates, leaf first, without the root. `issued` is the time of issue, which is
    after `not_before` by the allowance for wrong clocks. `generation` is that of `ca.rotation`, for authorities that rotate.
    """

    identity: Identity
    workload: Key | None
    chain_pem: bytes
    serial: int
    issued: datetime
    not_before: datetime
    not_after: datetime
    generation: int = 1


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The roots that vouch for `trust_domain`, each one PEM certificate: several while one replaces another."""

    trust_domain: str
    roots: tuple[bytes, ...]

    @property
    def pem(self) -> bytes:
        return b"".join(self.roots)


@dataclass(frozen=True, slots=True)
class AuthorityStatus:
    """When the signing certificates begin and end, for metrics and warnings; `remedy`: what an operator does for another root."""

    root_not_before: datetime
    root_not_after: datetime
    intermediate_not_after: datetime
    remedy: str


class Authority(Protocol):
    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        """Sign `request`. AuthorityError if that cannot be done now; it may be tried again later."""
        ...

    def roots(self) -> TrustBundle:
        """The bundle by which what this authority issues is verified."""
        ...
