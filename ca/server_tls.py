"""The control plane's own certificate, and gRPC server credentials that follow its renewal without a restart.

Two ports, on two servers, so that nothing of one can be reached through the other:

- join: TLS with our certificate; the caller has none yet (`require_client=False`);
- ADS and renewal: a client certificate of our roots is demanded in the handshake (`require_client=True`).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self, TypeVar, cast

import grpc

from ca import control_plane
from ca.authority import LEAF_LIFETIME, Authority, LeafRequest
from ca.csr import make_csr
from ca.keys import key_pem, new_key
from ca.times import Chance, Clock, renewal_time

MAXIMUM_JOIN_MESSAGE: Final = 65_536

JOIN_SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # Anyone may send to the join port: nothing large is read from it, and no connection is kept for nothing.
    ("grpc.max_receive_message_length", MAXIMUM_JOIN_MESSAGE),
    ("grpc.max_metadata_size", 8192),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.so_reuseport", 0),
)
"""For the server of the join port."""


@dataclass(frozen=True, slots=True)
class ServerNames:
    """Under which names and addresses agents reach the control plane, besides localhost and the loopback addresses."""

    dns_names: tuple[str, ...] = ()
    addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = ()

    @classmethod
    def parse(cls, names: Sequence[str]) -> Self:
        """From a setting that mixes DNS names and addresses."""
        dns_names: list[str] = []
        addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
        for name in names:
            try:
                addresses.append(ipaddress.ip_address(name))
            except ValueError:
                dns_names.append(name)
        return cls(tuple(dns_names), tuple(addresses))


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM: the key, the chain with the leaf first, and the roots that clients are verified with. `generation` grows with each renewal."""

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class _Current:
    configuration: grpc.ServerCertificateConfiguration = field(repr=False)
    pair: Pair
    generation: int
    not_after: datetime
    renew_at: datetime


class ServerCertificate:
    """The control plane's certificate: issued at start, then renewed by `renew`, which its owner calls at `renew_at`."""

    def __init__(
        self,
        authority: Authority,
        names: ServerNames,
        clock: Clock,
        chance: Chance,
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> None:
        """Holds no certificate before the first `renew`."""
        self._authority = authority
        self._names = names
        self._clock = clock
        self._chance = chance
        self._lifetime = lifetime
        self._current: _Current | None = None
        self._renewing = asyncio.Lock()

    @property
    def not_after(self) -> datetime:
        return self._held().not_after

    @property
    def renew_at(self) -> datetime:
        return self._held().renew_at

    @property
    def pair(self) -> Pair:
        """For servers that are not gRPC's."""
        return self._held().pair

    def due_in(self) -> float:
        """Seconds until `renew_at`, zero when it has passed."""
        return max(0.0, (self.renew_at - self._clock()).total_seconds())

    async def renew(self) -> None:
        """Take a new key and certificate: new connections see it, live ones stay. AuthorityError leaves the old one."""
        async with self._renewing:
            roots = self._authority.roots()
            key = new_key()
            issued = await self._authority.issue(
                LeafRequest(
                    identity=control_plane.identity(roots.trust_domain),
                    csr=make_csr(key),
                    lifetime=self._lifetime,
                    dns_names=_unique(
                        (control_plane.server_name(roots.trust_domain), "localhost", *self._names.dns_names)
                    ),
                    addresses=_unique((*_LOOPBACK, *self._names.addresses)),
                )
            )
            configuration = grpc.ssl_server_certificate_configuration(
                [(key_pem(key), issued.chain_pem)], root_certificates=roots.pem
            )
            generation = 0 if self._current is None else self._current.generation + 1
            self._current = _Current(
                configuration=configuration,
                pair=Pair(key_pem(key), issued.chain_pem, roots.pem, generation),
                generation=generation,
                not_after=issued.not_after,
                renew_at=renewal_time(issued.issued, issued.not_after, self._chance()),
            )

    def credentials(self, *, require_client: bool) -> grpc.ServerCredentials:
        """For `add_secure_port`; `require_client` demands a client certificate that our roots vouch for.

        Each new connection is offered the newest certificate.
        """
        first = self._held()
        given = first.generation

        def newest() -> grpc.ServerCertificateConfiguration | None:
            """Called by gRPC, from a thread of its own, before each handshake. None: no change."""
            nonlocal given
            current = self._held()
            if current.generation == given:
                return None
            given = current.generation
            return current.configuration

        return grpc.dynamic_ssl_server_credentials(
            first.configuration,
            # The stubs leave out the None that the documentation of gRPC allows.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", newest),
            require_client_authentication=require_client,
        )

    def _held(self) -> _Current:
        if self._current is None:
            raise RuntimeError("the server's certificate has not been issued: await renew() first")
        return self._current


T = TypeVar("T")
_LOOPBACK: Final = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


def _unique(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
