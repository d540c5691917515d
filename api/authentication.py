"""Who sends a request: whoever owns the data directory, by its socket; the bearer of an API token; the holder of a client certificate.

A token wins over a certificate, so that a proxy of TLS in front, or a workload, can act for somebody. Whoever tries tokens in vain is slowed down by
address. Those that are known have a rate of their own, so that nobody takes the API from others.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from api.errors import Forbidden, TooManyRequests, Unauthenticated
from api.roles import Caller, Grant, Role, Way
from api.tokens import ApiTokens, TokenRefused
from ca.errors import UnusablePeer
from ca.peer import Proved, proved
from ca.rate_limit import AttemptLimit, Monotonic, Rate, peer_host
from ca.times import Clock
from mesh.identity import Identity

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Rates:
    """How often may be asked, by each that is known, by all others from one address, and by all of these together."""

    known: Rate = Rate(burst=500, per_second=100)
    strangers: Rate = Rate(burst=20, per_second=1)
    all_strangers: Rate = Rate(burst=200, per_second=50)

    @classmethod
    def of(cls, a_second: float) -> Self:
        """Those that go with so many requests a second of one that is known."""
        return cls(
            known=Rate(5 * a_second, a_second),
            strangers=Rate(a_second / 5, a_second / 100),
            all_strangers=Rate(2 * a_second, a_second / 2),
        )


class Authentication:
    def __init__(
        self,
        tokens: ApiTokens,
        certificates: Mapping[Identity, Grant],
        clock: Clock,
        monotonic: Monotonic,
        rates: Rates | None = None,
    ) -> None:
        """`certificates`: what holders of mesh certificates may, by their identity."""
        rates = rates or Rates()
        self._tokens = tokens
        self._certificates = certificates
        self._clock = clock
        self._known = AttemptLimit(monotonic, rates.known)
        self._strangers = AttemptLimit(monotonic, rates.strangers, rates.all_strangers)

    async def caller(self, request: web.Request, *, public: bool) -> Caller:
        """Unauthenticated, Forbidden or TooManyRequests. With `public`, who shows no credentials is nobody, and let in."""
        local = _local(request)
        if local is not None:
            return local
        peer = peer_of(request)
        try:
            caller = self._shown(request, peer)
        except Unauthenticated:
            self._count(peer)
            raise
        if caller is None:
            self._count(peer)
            if public:
                return Caller("anonymous", Way.NOTHING, peer)
            raise Unauthenticated(
                "no credentials: send `Authorization: Bearer <API token>` (`meshwright api-token create`), or a client certificate"
            )
        if not self._known.attempt(f"{caller.way} {caller.name}", in_all=False):
            raise TooManyRequests(f"{caller.name} asks too often: wait a second", 1)
        return caller

    def again(self, request: web.Request, caller: Caller) -> None:
        """Unauthenticated if what `request` showed does not say any more that it is `caller`: revoked or expired since, or the peer is gone."""
        if (_local(request) or self._shown(request, caller.peer)) != caller:
            raise Unauthenticated(f"{caller.name} is not let in any more")

    def _count(self, peer: str) -> None:
        if not self._strangers.attempt(peer):
            raise TooManyRequests(
                "too many requests without good credentials from this address: wait a second", 1
            )

    def _shown(self, request: web.Request, peer: str) -> Caller | None:
        """Who the credentials of a request say it is; None if it has none. Unauthenticated if they are no good."""
        said = request.headers.getall("Authorization", [])
        if len(said) > 1:
            raise Unauthenticated("Authorization is given more than once: send one")
        if said:
            scheme, _, text = said[0].partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("Authorization is not `Bearer <API token>`")
            try:
                return self._tokens.verify(text.strip(), self._clock()).caller(peer)
            except TokenRefused as error:
                raise Unauthenticated(str(error)) from error
        holder = _certificate(request)
        if holder is None:
            return None
        if self._clock() >= holder.not_after:  # A connection outlives its certificate.
            raise Unauthenticated("the client certificate has expired: connect with a new one")
        grant = self._certificates.get(holder.identity)
        name = f"certificate:{holder.identity.uri}"
        return Caller(name, Way.CERTIFICATE, peer, () if grant is None else (grant,))


def peer_of(request: web.Request) -> str:
    """The address that a request comes from; the /64 of an IPv6 address, of which its holder has all."""
    remote = request.remote or ""
    return peer_host(f"ipv6:[{remote}]:0" if ":" in remote else f"ipv4:{remote}:0")


def _certificate(request: web.Request) -> Proved | None:
    """What the verified certificate of the connection proves. Unauthenticated if that is nobody's of ours."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if der is None:
        return None
    try:
        return proved(ssl.DER_cert_to_PEM_cert(der).encode())
    except UnusablePeer as error:
        raise Unauthenticated(str(error)) from error


def _local(request: web.Request) -> Caller | None:
    """The user at the other end of the Unix socket; None if it is not one. Forbidden to others than root and its owner."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    uid = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )[1]
    if uid not in {0, os.getuid()}:
        raise Forbidden(
            f"user {uid} is not the one who runs the control plane: use an API token over TCP instead"
        )
    return Caller(f"uid:{uid}", Way.SOCKET, "unix", (Grant(Role.ADMIN),))
