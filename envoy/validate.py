"""Puts rendered resources into one static bootstrap, so that Envoy itself can check, or run, all of them at once.

`envoy --mode validate` does not look into what comes by ADS. So route configurations and scopes are put into the
connection managers that name them, endpoints into their clusters, and secrets beside them. What is checked is
otherwise the very resource that a proxy is given. Running it is `launcher.validate`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any

from envoy import connection, names, packing, tls
from envoy.bootstrap import add_static_runtime
from envoy.render import Rendered
from pb.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import TransportSocket
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)


@dataclass(slots=True)
class _Parts:
    listeners: list[Listener] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    routes: dict[str, RouteConfiguration] = field(default_factory=dict)
    scopes: list[ScopedRouteConfiguration] = field(default_factory=list)
    endpoints: dict[str, ClusterLoadAssignment] = field(default_factory=dict)


def assemble(resources: Iterable[Rendered], secrets: Iterable[Secret]) -> Bootstrap:
    """A bootstrap that holds all of `resources`. `secrets` are those that they name: `identity` and `roots`.

    Routes that are named and not among the resources are empty, as are endpoints. API listeners are left out: an Envoy
    takes only one.
    """
    parts = _sorted_out(resources)
    made = Bootstrap()
    add_static_runtime(made)
    # Every real bootstrap has it, and policies may name it.
    for always in (names.CONTROL_PLANE, names.KEYS):
        made.static_resources.clusters.add(name=always, type=Cluster.STATIC)
    made.static_resources.secrets.extend(secrets)
    for cluster in parts.clusters:
        made.static_resources.clusters.append(_with_endpoints(cluster, parts.endpoints))
    for listener in parts.listeners:
        for chain in listener.filter_chains:
            _inline_secrets(chain.transport_socket)
            _inline_routes(chain, parts)
        made.static_resources.listeners.append(listener)
    return made


def _sorted_out(resources: Iterable[Rendered]) -> _Parts:
    parts = _Parts()
    for each in resources:
        match each.type_url:
            case packing.LDS:
                listener = Listener.FromString(each.body)
                if not listener.HasField("api_listener"):
                    parts.listeners.append(listener)
            case packing.CDS:
                parts.clusters.append(Cluster.FromString(each.body))
            case packing.RDS:
                parts.routes[each.name] = RouteConfiguration.FromString(each.body)
            case packing.SRDS:
                parts.scopes.append(ScopedRouteConfiguration.FromString(each.body))
            case packing.EDS:
                parts.endpoints[each.name] = ClusterLoadAssignment.FromString(each.body)
    return parts


def _with_endpoints(cluster: Cluster, endpoints: Mapping[str, ClusterLoadAssignment]) -> Cluster:
    if cluster.type == Cluster.EDS:
        cluster.type = Cluster.STATIC
        cluster.ClearField("eds_cluster_config")
        cluster.load_assignment.cluster_name = cluster.name
        if cluster.name in endpoints:
            cluster.load_assignment.CopyFrom(endpoints[cluster.name])
    for match in cluster.transport_socket_matches:
        _inline_secrets(match.transport_socket)
    _inline_secrets(cluster.transport_socket)
    return cluster


def _inline_routes(chain: FilterChain, parts: _Parts) -> None:
    for each in chain.filters:
        if each.name != connection.HCM:
            continue
        manager = HttpConnectionManager.FromString(each.typed_config.value)
        if manager.HasField("rds"):
            name = manager.rds.route_config_name
            manager.route_config.CopyFrom(parts.routes.get(name, RouteConfiguration(name=name)))
        elif manager.HasField("scoped_routes"):
            _inline_scopes(manager, parts)
        packing.pack(each.typed_config, manager)


def _inline_scopes(manager: HttpConnectionManager, parts: _Parts) -> None:
    scoped = manager.scoped_routes
    scoped.ClearField("rds_config_source")
    for scope in parts.scopes or [_no_scope()]:
        added = scoped.scoped_route_configurations_list.scoped_route_configurations.add()
        added.CopyFrom(scope)
        name = scope.route_configuration_name
        added.ClearField("route_configuration_name")
        added.route_configuration.CopyFrom(parts.routes.get(name, RouteConfiguration(name=name)))


def _no_scope() -> ScopedRouteConfiguration:
    """Envoy takes no empty list inline, though by SRDS it does: a scope that no host name leads to."""
    made = ScopedRouteConfiguration(name="none", route_configuration_name="none")
    made.key.fragments.add().string_key = "\0"
    return made


def _inline_secrets(socket: TransportSocket) -> None:
    if socket.name != tls.TLS:
        return
    config: Any = socket.typed_config
    if config.type_url == packing.type_url(UpstreamTlsContext):
        upstream = UpstreamTlsContext.FromString(config.value)
        _from_static(upstream.common_tls_context)
        packing.pack(config, upstream)
    else:
        downstream = DownstreamTlsContext.FromString(config.value)
        _from_static(downstream.common_tls_context)
        packing.pack(config, downstream)


def _from_static(common: CommonTlsContext) -> None:
    """A secret without a source is one of the bootstrap's own."""
    for each in common.tls_certificate_sds_secret_configs:
        each.ClearField("sds_config")
    if common.HasField("combined_validation_context"):
        common.combined_validation_context.validation_context_sds_secret_config.ClearField("sds_config")
