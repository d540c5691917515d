"""The scopes of resources that streams are given: values, so that proxies which see the same share one.

They are looked up for every response and may be large, so each knows its hash; and equal ones are one object (`Scopes`), which a
dictionary finds without comparing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from envoy.seams import NO_GATEWAY_POLICIES, NO_LISTENER_POLICIES, GatewaySeams, ListenerSeams
from mesh.gateway_views import GatewayView
from mesh.names import Key
from mesh.views import InboundView, OutboundListenersView, OutboundScope


@dataclass(frozen=True, slots=True)
class Outbound:
    """What callers with one view of the mesh see of it: clusters, endpoints, scoped routes and routes."""

    view: OutboundScope
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(("outbound", self.view)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Proxyless:
    """The same for gRPC clients that speak xDS themselves, in the form that they understand (gRFC A27)."""

    view: OutboundScope
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(("proxyless", self.view)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Local:
    """What a sidecar listens on. Keyed by the whole input, so equal sidecars share listeners and inbound clusters."""

    listeners: OutboundListenersView
    inbound: InboundView
    seams: ListenerSeams = NO_LISTENER_POLICIES
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.listeners, self.inbound, self.seams)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Captured:
    """What callers need besides whose traffic is intercepted: names, and a listener for each virtual address.

    `services` None: all. `seams`: what policies say of the listeners for their calls.
    """

    namespace: str
    services: tuple[Key, ...] | None
    dns_port: int
    ipv6: bool
    seams: ListenerSeams = NO_LISTENER_POLICIES
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        value = (self.namespace, self.services, self.dns_port, self.ipv6, self.seams)
        object.__setattr__(self, "_hash", hash(value))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Peers:
    """How the workloads of a proxy's own service are spread over zones, for zone-aware routing. None: no policy goes by places."""

    service: Key | None


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of one workload: given to the streams that have proved to be it, to nobody else."""

    workload: Key


@dataclass(frozen=True, slots=True)
class Edge:
    """What the proxies of a gateway listen on. Keyed by the whole input, so equal proxies share listeners and routes."""

    view: GatewayView
    seams: GatewaySeams = NO_GATEWAY_POLICIES
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.view, self.seams)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class EdgeSecrets:
    """Certificates and keys of Secret documents that a gateway may use: given to streams that have proved to be a workload that plays
    it, to nobody else.
    """

    gateway: Key
    secrets: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Authorities:
    """Certificates of the authorities of Secret documents by which callers verify backends. No key is among them."""

    secrets: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Undiscovered:
    """Never published: the streams of a workload that no source has named yet wait in it."""

    workload: Key


Scope = (
    Outbound
    | Proxyless
    | Peers
    | Captured
    | Local
    | Edge
    | EdgeSecrets
    | Authorities
    | Secrets
    | Undiscovered
)


class Scopes:
    """The one object for each value, while it is in use."""

    def __init__(self) -> None:
        self._known: dict[Scope, Scope] = {}

    def one(self, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
        return tuple(self._known.setdefault(scope, scope) for scope in scopes)

    def forget(self, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            self._known.pop(scope, None)
