"""Services: what callers name, and the ports on which they speak."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mesh.external import External
from mesh.identity import Identity
from mesh.names import Key, virtual_address

Labels = tuple[tuple[str, str], ...]
"""Labels as sorted pairs, so that values which hold them can be hashed."""


def labels(pairs: dict[str, str]) -> Labels:
    return tuple(sorted(pairs.items()))


class Protocol(StrEnum):
    """What a port speaks. Declared by its owner, never guessed; undeclared means TCP."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    TLS = "tls"
    UDP = "udp"

    @property
    def is_http(self) -> bool:
        return self in {Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC}


@dataclass(frozen=True, slots=True, order=True)
class ServicePort:
    """A port under which a service is reached. `name` pairs it with the workloads' port of that name.

    `assumed`: nobody has said what it speaks, and TCP is what is safe to take for granted. A route that says so may take it for HTTP.
    """

    name: str
    port: int
    protocol: Protocol = Protocol.TCP
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A service as its registry or its owner declares it.

    `service_accounts` says which identities may serve it; when empty, those of its workloads do. `address` is its
    virtual address; when None, one is derived from its name. `headless`: callers reach its endpoints by their own addresses, too.
    `reserved`: addresses that its cluster has given to it, which nobody else can claim (`mesh.addresses`).
    `external` is there for one outside the mesh, which no workload
    serves. `origin` names the documents or sources that made it:
    provenance, which is no part of its value.
    """

    key: Key
    ports: tuple[ServicePort, ...]
    address: str | None = None
    service_accounts: tuple[str, ...] = ()
    labels: Labels = ()
    external: External | None = None
    headless: bool = False
    reserved: tuple[str, ...] = ()
    origin: tuple[str, ...] = field(default=(), compare=False)

    @property
    def virtual_address(self) -> str:
        return self.address or virtual_address(self.key)

    def port_named(self, name: str) -> ServicePort | None:
        return next((port for port in self.ports if port.name == name), None)

    def identities(self, trust_domain: str, workload_accounts: frozenset[str]) -> tuple[Identity, ...]:
        """Whom a caller accepts as this service: never empty, for an empty list would accept anyone."""
        accounts = self.service_accounts or tuple(sorted(workload_accounts)) or (self.key.name,)
        return tuple(Identity(trust_domain, self.key.namespace, account) for account in accounts)
