"""Route configurations: one for each service, and one for each of its HTTP ports.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route.proto
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy import names
from envoy.packing import pack
from envoy.seams import Retries, RouteSettings, add_route_filters
from mesh.names import authorities
from mesh.service import ServicePort
from mesh.views import ServiceView
from pb.envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route, VirtualHost
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate

PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
HOST_ATTEMPTS = 20
"""How often a retry looks for an endpoint that has not failed this request yet, before it takes any. A look is cheap, and the
load balancer draws at random: where half of the endpoints have failed, five looks would miss the others in 3 % of cases."""


def by_authority(view: ServiceView, settings: RouteSettings) -> RouteConfiguration | None:
    """The routes of all HTTP ports of a service, told apart by authority; None if it has none.

    The domains are those of a caller in the service's own namespace, which include everybody's. Whoever may not use the
    short ones has no scope that leads here by them.
    """
    ports = [port for port in view.ports if port.protocol.is_http]
    if not ports:
        return None
    made = RouteConfiguration(name=names.route(view.key))
    made.validate_clusters.value = (
        False  # clusters come and go on their own; a missing one is a 503, not a refusal
    )
    for port in ports:
        host = made.virtual_hosts.add()
        _virtual_host(
            host, names.cluster(view.key, port.port), authorities(view.key, port.port, view.key.namespace)
        )
        _route(host.routes.add(), names.cluster(view.key, port.port), settings)
    return made


def by_port(view: ServiceView, settings: RouteSettings) -> Iterator[RouteConfiguration]:
    """For each HTTP port, routes that take any authority: for listeners that lead to this port alone."""
    for port in view.ports:
        if port.protocol.is_http:
            yield _single(names.port_route(view.key, port.port), names.cluster(view.key, port.port), settings)


def inbound(port: ServicePort, cluster: str) -> RouteConfiguration:
    """Whatever a caller asks of the port goes to the application.

    The one retry is for a kept connection that the application closed while it was idle, at the very moment it was
    used again: no byte of the request was sent then.
    """
    del port  # policies on the callee's side will need it
    return _single(
        cluster, cluster, RouteSettings(retries=Retries(("reset-before-request",), 1)), hosts=False
    )


def _single(name: str, cluster: str, settings: RouteSettings, *, hosts: bool = True) -> RouteConfiguration:
    made = RouteConfiguration(name=name)
    made.validate_clusters.value = False
    host = made.virtual_hosts.add()
    _virtual_host(host, name, ("*",))
    _route(host.routes.add(), cluster, settings, other_hosts=hosts)
    return made


def _virtual_host(host: VirtualHost, name: str, domains: tuple[str, ...]) -> None:
    host.name = name
    host.domains.extend(domains)


def _route(route: Route, cluster: str, settings: RouteSettings, *, other_hosts: bool = True) -> None:
    route.match.prefix = "/"
    action = route.route
    action.cluster = cluster
    # Envoy's own default is 15 s; zero is none.
    action.timeout.SetInParent()
    if settings.timeout is not None:
        action.timeout.FromTimedelta(settings.timeout)
    # The caller's own `grpc-timeout` holds, however long (gRFC A31 for proxyless clients).
    action.max_stream_duration.grpc_timeout_header_max.SetInParent()
    if settings.retries is not None:
        _retries(action.retry_policy, settings.retries, other_hosts=other_hosts)
    add_route_filters(route, settings.filters)


def _retries(policy: RetryPolicy, retries: Retries, *, other_hosts: bool) -> None:
    policy.retry_on = ",".join(retries.on)
    policy.num_retries.value = retries.attempts
    if other_hosts:
        predicate = policy.retry_host_predicate.add()
        predicate.name = PREVIOUS_HOSTS
        pack(predicate.typed_config, PreviousHostsPredicate())
        policy.host_selection_retry_max_attempts = HOST_ATTEMPTS
