"""What one proxy has: the messages of its listeners, routes, clusters and endpoints, with the documents they were made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from envoy import packing
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration

M = TypeVar("M", bound=Message, covariant=True)  # noqa: PLC0105 (as protobuf's own stubs call theirs)


@dataclass(frozen=True, slots=True)
class Held(Generic[M]):
    """`origin`: the documents and sources that made it, where that is known."""

    message: M
    origin: tuple[str, ...] = ()


class Resources(Protocol):
    """Where an explanation reads. None: the proxy has no such thing."""

    def listener(self, name: str) -> Held[Listener] | None: ...

    def listeners(self) -> Iterator[Held[Listener]]:
        """Those of the proxy itself; whoever knows more by name need not list them."""

    def scope(self, key: str) -> Held[ScopedRouteConfiguration] | None:
        """By its key: a host name."""

    def routes(self, name: str) -> Held[RouteConfiguration] | None: ...
    def cluster(self, name: str) -> Held[Cluster] | None: ...
    def endpoints(self, cluster: str) -> Held[ClusterLoadAssignment] | None: ...


class Table:
    """Resources that were all given at once, by type and name. What comes as bytes is read when it is asked for."""

    def __init__(self) -> None:
        self._listeners: dict[str, Held[Listener]] = {}
        self._scopes: dict[str, Held[ScopedRouteConfiguration]] = {}
        self._routes: dict[str, Held[RouteConfiguration]] = {}
        self._clusters: dict[str, Held[Cluster]] = {}
        self._endpoints: dict[str, Held[ClusterLoadAssignment]] = {}
        self._unread: dict[tuple[str, str], tuple[bytes, tuple[str, ...]]] = {}

    def add(self, message: Message, origin: tuple[str, ...] = ()) -> None:
        match message:
            case Listener():
                self._listeners[message.name] = Held(message, origin)
            case ScopedRouteConfiguration():
                self._scopes[scope_key(message)] = Held(message, origin)
            case RouteConfiguration():
                self._routes[message.name] = Held(message, origin)
            case Cluster():
                self._clusters[message.name] = Held(message, origin)
            case ClusterLoadAssignment():
                self._endpoints[message.cluster_name] = Held(message, origin)
            case _:
                pass  # secrets and the like decide nothing here

    def add_encoded(self, type_url: str, name: str, body: bytes, origin: tuple[str, ...] = ()) -> None:
        """Listeners and scopes are read at once: they are not only looked for by their names."""
        if type_url in {packing.LDS, packing.SRDS}:
            self.add(KINDS[type_url].FromString(body), origin)
        elif type_url in KINDS:
            self._unread[type_url, name] = body, origin

    @property
    def has_endpoints(self) -> bool:
        return bool(self._endpoints) or any(kind == packing.EDS for kind, _ in self._unread)

    def listener(self, name: str) -> Held[Listener] | None:
        return self._listeners.get(name)

    def listeners(self) -> Iterator[Held[Listener]]:
        yield from self._listeners.values()

    def scope(self, key: str) -> Held[ScopedRouteConfiguration] | None:
        return self._scopes.get(key)

    def routes(self, name: str) -> Held[RouteConfiguration] | None:
        self._read(packing.RDS, name)
        return self._routes.get(name)

    def cluster(self, name: str) -> Held[Cluster] | None:
        self._read(packing.CDS, name)
        return self._clusters.get(name)

    def endpoints(self, cluster: str) -> Held[ClusterLoadAssignment] | None:
        self._read(packing.EDS, cluster)
        return self._endpoints.get(cluster)

    def _read(self, type_url: str, name: str) -> None:
        found = self._unread.pop((type_url, name), None)
        if found is not None:
            self.add(KINDS[type_url].FromString(found[0]), found[1])


KINDS: dict[str, type[Message]] = {
    packing.LDS: Listener,
    packing.SRDS: ScopedRouteConfiguration,
    packing.RDS: RouteConfiguration,
    packing.CDS: Cluster,
    packing.EDS: ClusterLoadAssignment,
}


def scope_key(scope: ScopedRouteConfiguration) -> str:
    """Ours have one fragment."""
    return ",".join(each.string_key for each in scope.key.fragments)
