"""Where policies take part in rendering: clusters, routes, connection managers, listeners, and resources of their own.

A policy never edits a finished message. It gives parts of messages, serialised: a frozen value, which is part of the whole
input that a rendering is memoised by. Parts are laid down first, in the order of the kinds, and what this mesh does where
nobody says otherwise is filled in around them. One after another, the bytes of two parts are the two merged
(https://protobuf.dev/programming-guides/encoding/#last-one-wins).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from envoy.patches import Patch
from mesh.names import Key
from mesh.targeting import RouteName
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)


class FilterOrder(IntEnum):
    """Where an HTTP filter stands; the router is always last. Who the caller is comes before what it may do, and what
    refuses a request before what spends work on it.
    """

    ANOTHER_LOOK = 1
    EXTENSION_FIRST = 2
    CORS = 5
    AUTHENTICATION = 10
    AUTHORIZATION = 20
    FAULT = 30
    RATE_LIMIT = 40
    CONCURRENCY = 45
    TRANSFORMATION = 50
    COMPRESSION = 60
    BUFFERING = 65
    TELEMETRY = 70
    SESSION = 80
    EXTENSION_LAST = 90
    NAMES = 90
    ADDRESSES = 95
    DISCOVERY = 99


@dataclass(frozen=True, slots=True, order=True)
class HttpFilter:
    """An HTTP filter with its serialised configuration. `disabled` ones act only where a route enables them."""

    order: FilterOrder
    name: str
    type_url: str
    config: bytes
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class ExtraResource:
    """A resource that a policy needs besides, for example the cluster of a rate limit service."""

    type_url: str
    name: str
    body: bytes
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Called:
    """A port of a service that proxies call on behalf of a policy, whatever their workloads use: its cluster is theirs too."""

    service: Key
    port: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What policies say of one thing. Each is a serialised message of which only what they say is set; empty says nothing.

    `cluster`: Cluster. `http`: HttpProtocolOptions of that cluster. `action`: RouteAction, for routes that lead to clusters.
    `route`: Route, without match and action. `manager`: HttpConnectionManager. `tcp`: TcpProxy. `listener`: Listener, of which only
    `listener_filters` and `access_log` are taken. `unknown`: Route, without match and cluster, for hosts that nobody knows; without
    one they are refused, and with `refuse_unknown` so are intercepted connections to addresses that nobody knows. `network_filters`: serialised listener.v3.Filter, put before what handles a connection.
    `patches` are laid over the finished resources. `called`: services that the proxy itself calls for what is said here.
    `tls`: TlsParameters of the mesh TLS that callers speak. `plaintext`: whether calls without it are taken, too.
    """

    cluster: bytes = b""
    http: bytes = b""
    action: bytes = b""
    route: bytes = b""
    manager: bytes = b""
    tcp: bytes = b""
    listener: bytes = b""
    network_filters: tuple[bytes, ...] = ()
    http_filters: tuple[HttpFilter, ...] = ()
    resources: tuple[ExtraResource, ...] = ()
    patches: tuple[Patch, ...] = ()
    origin: tuple[str, ...] = ()
    unknown: bytes = b""
    refuse_unknown: bool = False
    called: tuple[Called, ...] = ()
    tls: bytes = b""
    plaintext: bool = False

    def __bool__(self) -> bool:
        return self != NOTHING

    def __add__(self, other: Parts) -> Parts:
        if not other:
            return self
        return Parts(
            self.cluster + other.cluster,
            self.http + other.http,
            self.action + other.action,
            self.route + other.route,
            self.manager + other.manager,
            self.tcp + other.tcp,
            self.listener + other.listener,
            (*self.network_filters, *other.network_filters),
            (*self.http_filters, *other.http_filters),
            (*self.resources, *(each for each in other.resources if each not in self.resources)),
            (*self.patches, *(each for each in other.patches if each not in self.patches)),
            (*self.origin, *(each for each in other.origin if each not in self.origin)),
            self.unknown + other.unknown,
            self.refuse_unknown or other.refuse_unknown,
            (*self.called, *(each for each in other.called if each not in self.called)),
            tls=self.tls + other.tls,
            plaintext=self.plaintext or other.plaintext,
        )


NOTHING = Parts()

RuleName = tuple[RouteName, int]
"""A route document, and the place of one of its rules."""


@dataclass(frozen=True, slots=True)
class ServiceSeams:
    """For a service as its callers see it. `rules` are those of attached routes; `service` what holds without one."""

    service: Parts = NOTHING
    rules: tuple[tuple[RuleName, Parts], ...] = ()

    def of_rules(self) -> Mapping[RuleName, Parts]:
        """By rule, made anew: once for each rendering, which asks for many. A rule that is not in it has what is said of the service."""
        return dict(self.rules)

    def resources(self) -> Iterable[ExtraResource]:
        """All, each once."""
        return dict.fromkeys(
            each for parts in (self.service, *(parts for _, parts in self.rules)) for each in parts.resources
        )


@dataclass(frozen=True, slots=True)
class ListenerSeams:
    """For what a sidecar listens on. `outbound`: its workload's own calls. `inbound`: for each service port it serves, by
    the name of its filter chain. `filters` stand in every connection manager, disabled, so that a policy that enables one
    changes routes only, which disturbs no connection.
    """

    outbound: Parts = NOTHING
    inbound: tuple[tuple[str, Parts], ...] = ()
    filters: tuple[HttpFilter, ...] = ()

    def chain(self, name: str) -> Parts:
        return next((parts for each, parts in self.inbound if each == name), NOTHING)

    def inbound_patches(self) -> Iterable[Patch]:
        """All, each once."""
        return dict.fromkeys(each for _, parts in self.inbound for each in parts.patches)

    def resources(self) -> Iterable[ExtraResource]:
        """All, each once."""
        return dict.fromkeys(
            each
            for parts in (self.outbound, *(parts for _, parts in self.inbound))
            for each in parts.resources
        )

    def called(self) -> frozenset[Called]:
        return frozenset(
            each for parts in (self.outbound, *(parts for _, parts in self.inbound)) for each in parts.called
        )


@dataclass(frozen=True, slots=True)
class GatewaySeams:
    """For a gateway. `ports`: what it handles on a port, HTTP (true) or not; `filters` as in ListenerSeams; `routes`: the rules of
    attached routes.
    """

    ports: tuple[tuple[tuple[int, bool], Parts], ...] = ()
    filters: tuple[HttpFilter, ...] = ()
    routes: ServiceSeams = ServiceSeams()

    def of(self, port: int, *, http: bool) -> Parts:
        return next((parts for each, parts in self.ports if each == (port, http)), NOTHING)

    def patches(self) -> Iterable[Patch]:
        """All, each once."""
        return dict.fromkeys(each for _, parts in self.ports for each in parts.patches)

    def resources(self) -> Iterable[ExtraResource]:
        """All, each once."""
        of_ports = (each for _, parts in self.ports for each in parts.resources)
        return dict.fromkeys((*of_ports, *self.routes.resources()))

    def called(self) -> frozenset[Called]:
        of_ports = (each for _, parts in self.ports for each in parts.called)
        return frozenset((*of_ports, *(each for _, parts in self.routes.rules for each in parts.called)))


NO_POLICIES = ServiceSeams()
NO_LISTENER_POLICIES = ListenerSeams()
NO_GATEWAY_POLICIES = GatewaySeams()


def serialised(message: Message) -> bytes:
    """A part: the same bytes for the same content."""
    return message.SerializeToString(deterministic=True)


def add_filters(manager: HttpConnectionManager, filters: Iterable[HttpFilter]) -> None:
    """Append `filters` in their declared order, ties by name."""
    for each in sorted(filters):
        added = manager.http_filters.add()
        added.name = each.name
        added.disabled = each.disabled
        _fill(added.typed_config, each.type_url, each.config)


def _fill(target: Any, type_url: str, config: bytes) -> None:
    target.type_url = type_url
    target.value = config
