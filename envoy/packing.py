"""`Any` fields, type URLs and config sources: what every message needs."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from envoy import names
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.address_pb2 import Address
from pb.envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration

PREFIX = "type.googleapis.com/"


def type_url(message: type[Message]) -> str:
    return PREFIX + message.DESCRIPTOR.full_name


CDS = type_url(Cluster)
EDS = type_url(ClusterLoadAssignment)
LDS = type_url(Listener)
RDS = type_url(RouteConfiguration)
SRDS = type_url(ScopedRouteConfiguration)


def pack(target: Any, message: Message) -> None:
    """Make `target` hold `message`, in the same bytes every time."""
    target.type_url = PREFIX + message.DESCRIPTOR.full_name
    target.value = message.SerializeToString(deterministic=True)


def from_ads(source: ConfigSource) -> None:
    """Make `source` the ADS stream, v3."""
    source.resource_api_version = ApiVersion.V3
    source.ads.SetInParent()


def from_keys(source: ConfigSource) -> None:
    """Make `source` the server of the proxy's own keys, which is the bootstrap's business: here it is the same for every proxy.

    Why not the ADS stream: docs/adr/0006-agent-sds.md.
    """
    source.resource_api_version = ApiVersion.V3
    api = source.api_config_source
    api.api_type = ApiConfigSource.DELTA_GRPC
    api.transport_api_version = ApiVersion.V3
    api.set_node_on_first_message_only = True
    by = api.grpc_services.add().envoy_grpc
    by.cluster_name = names.KEYS
    # Envoy's own is up to 30 s: a renewed certificate would come that much later after the server was away.
    by.retry_policy.retry_back_off.base_interval.nanos = 200_000_000
    by.retry_policy.retry_back_off.max_interval.seconds = 5


def listen_on(address: Address, host: str, port: int) -> None:
    address.socket_address.address = host
    address.socket_address.port_value = port
