"""The scopes of resources that streams are given: values, so that proxies which see the same share one.

They are looked up for every response and may be large, so each knows its hash; and equal ones are one object (`Scopes`), which a
dictionary finds without comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from envoy import names
from envoy.seams import NO_GATEWAY_POLICIES, NO_LISTENER_POLICIES, Called, GatewaySeams, ListenerSeams
from mesh.gateway_views import GatewayView
from mesh.names import Key
from mesh.secrets import Bundle
from mesh.views import InboundView, OutboundListenersView, OutboundScope
from xds.on_request import OnRequest

BASE = ""
"""The edition of what all sources say: see `meshwright/editions.py`. A scope whose content depends on the state of the mesh says of which
edition; where the scope itself is all that decides its content, editions share it.
"""


@dataclass(frozen=True, slots=True)
class Outbound:
    """What callers with one view of the mesh see of it: clusters, endpoints, scoped routes and routes."""

    view: OutboundScope
    edition: str = BASE
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(("outbound", self.view, self.edition)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Proxyless:
    """The same for gRPC clients that speak xDS themselves, in the form that they understand (gRFC A27)."""

    view: OutboundScope
    edition: str = BASE
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(("proxyless", self.view, self.edition)))

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
    edition: str = BASE
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        value = (self.namespace, self.services, self.dns_port, self.ipv6, self.seams, self.edition)
        object.__setattr__(self, "_hash", hash(value))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Peers:
    """How the workloads of a proxy's own service are spread over zones, for zone-aware routing. None: no policy goes by places."""

    service: Key | None
    edition: str = BASE


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
    """Certificates and keys of Secret documents that a gateway may use, and authorities by which it verifies its clients: given to
    streams that have proved to be a workload that plays it, to nobody else.
    """

    gateway: Key
    certificates: tuple[Key, ...] = ()
    bundles: tuple[Bundle, ...] = ()

    @property
    def secrets(self) -> frozenset[Key]:
        return frozenset(self.certificates).union(*self.bundles)


@dataclass(frozen=True, slots=True)
class Authorities:
    """Certificates of the authorities of Secret documents by which callers verify backends. No key is among them."""

    bundles: tuple[Bundle, ...]
    certificates: ClassVar[tuple[Key, ...]] = ()

    @property
    def secrets(self) -> frozenset[Key]:
        return frozenset().union(*self.bundles)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a proxy's runtime says beside its bootstrap: see `envoy/reported.py`."""

    watching: bool


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
    | Runtime
    | Undiscovered
)


Seen = Scope | OnRequest
"""A scope, as a stream is given it: whole, or with its clusters on demand."""


def seen(scopes: Iterable[Scope], at_once: frozenset[str] | None) -> tuple[Seen, ...]:
    """`scopes` as a stream is given them whose clusters come on demand, but for those of the names `at_once`; None: it is given all."""
    return tuple(
        each if at_once is None or not isinstance(each, Outbound) else OnRequest(each, at_once)
        for each in scopes
    )


def calling(scope: OutboundScope, called: Iterable[Called]) -> OutboundScope:
    """`scope`, widened by the services that the proxy itself calls for a policy, be they there yet or not."""
    services = {each.service for each in called}
    if scope.services is None or services.issubset(scope.services):
        return scope
    return replace(scope, services=tuple(sorted({*scope.services, *services})))


def edition_of(scope: Scope) -> str:
    return scope.edition if isinstance(scope, Outbound | Proxyless | Captured | Peers) else BASE


def clusters_of(called: Iterable[Called]) -> tuple[str, ...]:
    return tuple(names.cluster(each.service, each.port) for each in sorted(called))


class Scopes:
    """The one object for each value, by how many clients it is used, and since when by none."""

    def __init__(self) -> None:
        self._known: dict[Scope, Scope] = {}
        self._users: dict[Scope, int] = {}
        self._idle_since: dict[Scope, float] = {}

    def __iter__(self) -> Iterator[Scope]:
        """All that are remembered."""
        return iter(self._known)

    def one(self, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
        return tuple(self._known.setdefault(scope, scope) for scope in scopes)

    def use(self, scopes: Iterable[Scope]) -> None:
        """One client more has `scopes`."""
        for scope in scopes:
            self._users[scope] = self._users.get(scope, 0) + 1
            self._idle_since.pop(scope, None)

    def release(self, scopes: Iterable[Scope], now: float) -> None:
        """One client less has `scopes`; whom nobody has any more is idle since `now`."""
        for scope in scopes:
            self._users[scope] -= 1
            if not self._users[scope]:
                del self._users[scope]
                self._idle_since[scope] = now

    def forget_unused(self, scopes: Iterable[Scope]) -> None:
        """Those of `scopes` that were asked for, but that nobody was given."""
        for scope in scopes:
            if scope not in self._users and scope not in self._idle_since:
                self._known.pop(scope, None)

    def forget_idle(self, now: float, after: float) -> list[Scope]:
        """Those that nobody has had for `after` seconds."""
        gone = [scope for scope, since in self._idle_since.items() if now - since >= after]
        for scope in gone:
            del self._idle_since[scope]
            self._known.pop(scope, None)
        return gone
