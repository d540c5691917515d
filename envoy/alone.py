"""One resource with as much around it as Envoy needs to look at it: what it refers to is stood in for by the least that there can be.

So what Envoy says of it is about this resource, and not about its neighbours, which may be wrong themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.message import Message

from envoy import connection, packing
from envoy.render import Rendered
from envoy.seams import NOTHING
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

TRIED = frozenset({packing.LDS, packing.CDS, packing.RDS, packing.SRDS, packing.EDS})
"""What can be tried so. Secrets cannot: what stands in for them is none of them."""


def alone(resource: Rendered, clusters: Iterable[str]) -> Iterator[Rendered]:
    """`resource`, of a type that is TRIED, and what stands around it. `clusters`: names of those that it may refer to."""
    match resource.type_url:
        case packing.RDS:
            routes = RouteConfiguration.FromString(resource.body)
            # By RDS, clusters that are not there yet are nothing wrong.
            routes.validate_clusters.value = False
            yield _rendered(packing.RDS, resource.name, routes)
            yield _listener(connection.to_route("trial", resource.name, NOTHING, ()))
        case packing.SRDS:
            yield resource
            yield _listener(connection.by_host_name(NOTHING, ()))
        case packing.EDS:
            yield resource
            yield _rendered(packing.CDS, resource.name, Cluster(name=resource.name, type=Cluster.EDS))
        case _:
            yield resource
    for name in clusters:
        if name != resource.name:
            yield _rendered(packing.CDS, name, Cluster(name=name, type=Cluster.STATIC))


def _listener(manager: HttpConnectionManager) -> Rendered:
    """One that takes its routes from where `manager` says."""
    made = Listener(name="trial")
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 1
    handler = made.filter_chains.add().filters.add(name=connection.HCM)
    packing.pack(handler.typed_config, manager)
    return _rendered(packing.LDS, made.name, made)


def _rendered(type_url: str, name: str, message: Message) -> Rendered:
    return Rendered(type_url, name, message.SerializeToString(deterministic=True))
