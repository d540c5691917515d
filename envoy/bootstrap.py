"""The bootstrap: what Envoy starts with and nothing can change later.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/bootstrap/v3/bootstrap.proto
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from envoy import names, tls
from envoy.clusters import HTTP_OPTIONS
from envoy.packing import from_ads, listen_on, pack
from mesh.workload import Locality
from pb.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.address_pb2 import Address
from pb.envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource
from pb.envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2 import (
    DownstreamConnectionsConfig,
)
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher, TlsParameters
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from pb.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from pb.envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse

ADMIN = "admin"
"""The cluster of Envoy's own admin interface, where that is known beforehand: for listeners that show a part of it."""
ADMIN_MODE = 0o600
"""Of the admin interface's Unix socket: who may connect may end Envoy, and read what it knows of everybody."""

SECRET_FILES = {"identity": "ads-identity.json", "roots": "ads-roots.json"}
DRAIN_TIME = 45
"""Seconds that what was removed has to end its connections; Envoy's own default is ten minutes."""
CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
MAX_CONNECTIONS = 50_000
"""Connections that all listeners take together: more are closed at once, before they can exhaust memory or descriptors.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/best_practices/edge"""

REGEX_PROGRAM = 20_000
"""Instructions that a compiled regular expression may have; by default Envoy takes 100, and refuses the whole resource beyond."""


@dataclass(frozen=True, slots=True)
class ConnectionFiles:
    """What the ADS connection is secured with: PEM files that are renewed in place.

    Envoy reads all three again whenever something is moved into `watched`. `directory` is where the files of
    `secret_files` are; `server_name` the control plane's DNS name, which is its SNI and must be in its certificate; one of
    `other_names` will do as well.
    """

    key: PurePath
    chain: PurePath
    roots: PurePath
    watched: PurePath
    directory: PurePath
    server_name: str
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BootstrapInput:
    """The whole input of a bootstrap.

    `node_id` is `<namespace>/<workload>`, `cluster` Envoy's name for the group of equal proxies. `connection` None is
    plaintext, which the control plane takes on loopback only, when told to. `keys` is the Unix socket on which an agent serves the proxy's
    own keys; None: the control plane does. `admin_port` 0 is a free port (see
    `launcher.EnvoyProcess.admin`), with which there is no cluster `ADMIN`. `admin_socket`, a path, takes its place: what is sent to an address,
    by a route or by the workload, never comes to the admin interface then. `local_service` is the name of the endpoints of the proxy's own service, which the
    control plane calls `names.LOCAL_CLUSTER`, for zone-aware routing. `stats_tags` are put on every metric; `runtime` is a static layer under the admin's.
    """

    node_id: str
    cluster: str
    control_plane_host: str
    control_plane_port: int
    connection: ConnectionFiles | None = None
    keys: PurePath | None = None
    locality: Locality = Locality()
    metadata: tuple[tuple[str, str], ...] = ()
    admin_address: str = "127.0.0.1"
    admin_port: int = 0
    admin_socket: PurePath | None = None
    delta: bool = True
    local_service: str | None = None
    stats_tags: tuple[tuple[str, str], ...] = ()
    runtime: tuple[tuple[str, str], ...] = ()


def bootstrap(given: BootstrapInput) -> Bootstrap:
    made = Bootstrap()
    _node(made, given)
    made.static_resources.clusters.append(_control_plane(given, names.CONTROL_PLANE))
    made.static_resources.clusters.append(
        _control_plane(given, names.KEYS) if given.keys is None else _agent(given.keys)
    )
    if given.admin_port or given.admin_socket is not None:
        made.static_resources.clusters.append(_admin(given))
    if given.local_service is not None:
        made.static_resources.clusters.append(_local(given.local_service))
        made.cluster_manager.local_cluster_name = names.LOCAL_CLUSTER
    _dynamic(made, given)
    _admin_address(made.admin.address, given)
    made.admin.ignore_global_conn_limit = True  # it is needed most where the limit is reached
    _limits(made)
    for name, value in given.stats_tags:
        tag = made.stats_config.stats_tags.add()
        tag.tag_name = name
        tag.fixed_value = value
    add_static_runtime(made, given.runtime)
    _runtime_by_ads(made)
    admin = made.layered_runtime.layers.add()
    admin.name = "admin"
    admin.admin_layer.SetInParent()
    return made


def add_static_runtime(made: Bootstrap, also: tuple[tuple[str, str], ...] = ()) -> None:
    """What the rendering relies on. Users' expressions are held to Envoy's own limit; those that we make of exact values may be longer."""
    layer = made.layered_runtime.layers.add()
    layer.name = "meshwright"
    layer.static_layer["re2.max_program_size.error_level"] = REGEX_PROGRAM
    layer.static_layer["re2.max_program_size.warn_level"] = REGEX_PROGRAM
    for name, value in also:
        layer.static_layer[name] = value


def _runtime_by_ads(made: Bootstrap) -> None:
    """What the control plane switches without a listener that changes: see `reported`. Nobody waits for it: Envoy asks for clusters when it
    has this, or when this time has passed, and takes it later all the same.
    """
    layer = made.layered_runtime.layers.add()
    layer.name = names.RUNTIME + "-live"
    layer.rtds_layer.name = names.RUNTIME
    from_ads(layer.rtds_layer.rtds_config)
    layer.rtds_layer.rtds_config.initial_fetch_timeout.nanos = 200_000_000


def render(given: BootstrapInput) -> str:
    """The bootstrap as JSON text, for `envoy --config-path`."""
    return _json(bootstrap(given))


def secret_files(connection: ConnectionFiles) -> Mapping[str, str]:
    """The files to put into `connection.directory`, by name: Envoy follows renewed files only through SDS, and these are
    its SDS answers. They hold paths, no secrets, and change with the control plane's names alone.
    """
    identity = Secret(name="ads-identity")
    identity.tls_certificate.certificate_chain.filename = str(connection.chain)
    identity.tls_certificate.private_key.filename = str(connection.key)
    identity.tls_certificate.watched_directory.path = str(connection.watched)
    roots = Secret(name="ads-roots")
    roots.validation_context.trusted_ca.filename = str(connection.roots)
    roots.validation_context.watched_directory.path = str(connection.watched)
    for name in (connection.server_name, *connection.other_names):
        dns = roots.validation_context.match_typed_subject_alt_names.add()
        dns.san_type = SubjectAltNameMatcher.DNS
        dns.matcher.exact = name
    return {SECRET_FILES["identity"]: _sds(identity), SECRET_FILES["roots"]: _sds(roots)}


def _sds(secret: Secret) -> str:
    answer = DiscoveryResponse(version_info="1")
    pack(answer.resources.add(), secret)
    return _json(answer)


def _json(message: Message) -> str:
    return MessageToJson(message, preserving_proto_field_name=True, indent=2, sort_keys=True)


def _node(made: Bootstrap, given: BootstrapInput) -> None:
    made.node.id = given.node_id
    made.node.cluster = given.cluster
    made.node.locality.region = given.locality.region
    made.node.locality.zone = given.locality.zone
    made.node.locality.sub_zone = given.locality.sub_zone
    for name, value in given.metadata:
        made.node.metadata[name] = value
    if given.keys is not None:
        made.node.metadata[names.KEYS_OF] = names.AGENT


def _dynamic(made: Bootstrap, given: BootstrapInput) -> None:
    ads = made.dynamic_resources.ads_config
    ads.api_type = ApiConfigSource.DELTA_GRPC if given.delta else ApiConfigSource.GRPC
    ads.transport_api_version = ApiVersion.V3
    # The node, with all its extensions, is some 10 KB: once for each stream is enough.
    ads.set_node_on_first_message_only = True
    ads.grpc_services.add().envoy_grpc.cluster_name = names.CONTROL_PLANE
    for source in (made.dynamic_resources.lds_config, made.dynamic_resources.cds_config):
        _patient(source)


def _limits(made: Bootstrap) -> None:
    monitor = made.overload_manager.resource_monitors.add()
    monitor.name = CONNECTIONS
    limit = DownstreamConnectionsConfig(max_active_downstream_connections=MAX_CONNECTIONS)
    pack(monitor.typed_config, limit)


def _patient(source: ConfigSource) -> None:
    """From ADS, with no time limit: a sidecar without its configuration is not ready, however long it waits."""
    from_ads(source)
    source.initial_fetch_timeout.SetInParent()


def _control_plane(given: BootstrapInput, name: str) -> Cluster:
    cluster = Cluster(name=name, type=_discovery(given.control_plane_host))
    cluster.connect_timeout.seconds = 5
    cluster.load_assignment.cluster_name = cluster.name
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    listen_on(endpoint.address, given.control_plane_host, given.control_plane_port)
    options = HttpProtocolOptions()
    http2 = options.explicit_http_config.http2_protocol_options
    # A control plane that is gone without a word is noticed, and the stream opened anew, within 40 s.
    http2.connection_keepalive.interval.seconds = 30
    http2.connection_keepalive.timeout.seconds = 10
    pack(cluster.typed_extension_protocol_options[HTTP_OPTIONS], options)
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = 60
    keepalive.keepalive_interval.value = 10
    keepalive.keepalive_probes.value = 3
    if given.connection is not None:
        _secure(cluster, given.connection)
    return cluster


def _agent(socket: PurePath) -> Cluster:
    """Its permissions say who may connect, so there is no TLS; a process that has ended closes it, so there is no keepalive."""
    cluster = Cluster(name=names.KEYS, type=Cluster.STATIC)
    cluster.connect_timeout.seconds = 1
    cluster.load_assignment.cluster_name = cluster.name
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.pipe.path = str(socket)
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    pack(cluster.typed_extension_protocol_options[HTTP_OPTIONS], options)
    return cluster


def _admin(given: BootstrapInput) -> Cluster:
    cluster = Cluster(name=ADMIN, type=Cluster.STATIC)
    cluster.connect_timeout.seconds = 1
    cluster.load_assignment.cluster_name = cluster.name
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    _admin_address(endpoint.address, given)
    return cluster


def _admin_address(address: Address, given: BootstrapInput) -> None:
    if given.admin_socket is None:
        listen_on(address, given.admin_address, given.admin_port)
        return
    address.pipe.path = str(given.admin_socket)
    address.pipe.mode = ADMIN_MODE


def _discovery(host: str) -> Cluster.DiscoveryType.ValueType:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return Cluster.STRICT_DNS
    return Cluster.STATIC


def _secure(cluster: Cluster, connection: ConnectionFiles) -> None:
    context = UpstreamTlsContext(sni=connection.server_name)
    common = context.common_tls_context
    common.tls_params.tls_minimum_protocol_version = (
        TlsParameters.TLSv1_2
    )  # gRPC's own server may not have 1.3
    common.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    common.alpn_protocols.append("h2")
    identity = common.tls_certificate_sds_secret_configs.add()
    identity.name = "ads-identity"
    _from_file(identity.sds_config, connection, SECRET_FILES["identity"])
    roots = common.validation_context_sds_secret_config
    roots.name = "ads-roots"
    _from_file(roots.sds_config, connection, SECRET_FILES["roots"])
    cluster.transport_socket.name = tls.TLS
    pack(cluster.transport_socket.typed_config, context)


def _from_file(source: ConfigSource, connection: ConnectionFiles, name: str) -> None:
    source.resource_api_version = ApiVersion.V3
    source.path_config_source.path = str(connection.directory / name)


def _local(service: str) -> Cluster:
    """The endpoints of the proxy's own service, so that Envoy knows how its peers are spread over zones."""
    cluster = Cluster(name=names.LOCAL_CLUSTER, type=Cluster.EDS)
    cluster.connect_timeout.seconds = 5
    cluster.eds_cluster_config.service_name = service
    from_ads(cluster.eds_cluster_config.eds_config)
    # Nobody waits for it: Envoy asks for nothing else before it has this, or this time has passed.
    cluster.eds_cluster_config.eds_config.initial_fetch_timeout.seconds = 1
    return cluster
