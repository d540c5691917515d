"""Route configurations: one for each service, and one for each of its HTTP ports.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy import http_routes, names, route_actions, route_matches
from envoy.seams import NOTHING, Parts, ServiceSeams
from mesh import external
from mesh.names import authorities, hostnames
from mesh.routes import Match, PathKind, PathMatch
from mesh.rules import RuleView
from mesh.service import ServicePort
from mesh.views import ServiceView
from pb.envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration

NO_MATCH = "no-match"
EVERYTHING = (Match(), Match(PathMatch(PathKind.PREFIX, "/")))
NO_RULE = "no route: none of the rules for this host takes such a request\n"
DEFAULT = "default"
"""The name of the route that is there when none is attached, as access logs show it."""


def by_authority(view: ServiceView, seams: ServiceSeams) -> RouteConfiguration | None:
    """The routes of all HTTP ports of a service, told apart by authority; None if it has none.

    The domains are those of a caller in the service's own namespace, which include everybody's. Whoever may not use the
    short ones has no scope that leads here by them.
    """
    ports = [port for port in view.ports if port.protocol.is_http]
    if not ports or (view.external is not None and (not view.hosts or view.external.wildcard)):
        return None
    made = _configuration(names.route(view.key))
    for port in ports:
        domains = (
            external.authorities(view.hosts, port.port)
            if view.external is not None
            else authorities(view.key, port.port, view.key.namespace)
        )
        host = _virtual_host(made, names.cluster(view.key, port.port), domains)
        host.routes.extend(_routes(view, port, seams, came_in_by=port.port))
    return made


def by_port(view: ServiceView, seams: ServiceSeams) -> Iterator[RouteConfiguration]:
    """For each HTTP port, routes that take any authority: for listeners that lead to this port alone."""
    for port in view.ports:
        if port.protocol.is_http:
            name = names.port_route(view.key, port.port)
            made = _configuration(name)
            # Which local port a listener has is its workload's own choice.
            _virtual_host(made, name, ("*",)).routes.extend(_routes(view, port, seams, came_in_by=None))
            yield made


def direct(view: ServiceView, port: ServicePort, account: str, seams: ServiceSeams) -> RouteConfiguration:
    """For requests to the very endpoints whose service account is `account`: to the one that was called.

    But where rules are attached to the port, whoever asks for the service by its name gets what these say: one of its endpoints, or
    of another service. The domains are those of the mesh and of Kubernetes, whatever the port.
    """
    name = names.direct_cluster(view.key, port.port, account)
    made = _configuration(name)
    made.ignore_port_in_host_matching = True
    if port.port in dict(view.routes):
        in_cluster = f"{view.key.name}.{view.key.namespace}.svc"
        domains = (*hostnames(view.key, view.key.namespace), in_cluster, f"{in_cluster}.*")
        by_name = _virtual_host(made, names.cluster(view.key, port.port), domains)
        by_name.routes.extend(_routes(view, port, seams, came_in_by=None))
    _virtual_host(made, name, ("*",)).routes.append(_to(name, seams.service))
    return made


def inbound(port: ServicePort, cluster: str, parts: Parts) -> RouteConfiguration:
    """Whatever a caller asks of `port` goes to the application."""
    del port  # its name and its protocol decide nothing yet
    made = _configuration(cluster)
    route = _virtual_host(made, cluster, ("*",)).routes.add()
    route.CopyFrom(route_actions.start(parts, DEFAULT))
    route_matches.fill(route.match, Match())
    route_actions.to_application(route, parts).cluster = cluster
    return made


def checks(name: str, paths: Iterable[str], cluster: str, otherwise: str) -> RouteConfiguration:
    """Requests for exactly one of `paths` go to `cluster`; all others are answered 403, with the text `otherwise`."""
    made = _configuration(name)
    host = _virtual_host(made, name, ("*",))
    for path in paths:
        route = host.routes.add()
        route.CopyFrom(route_actions.start(NOTHING, DEFAULT))
        route_matches.fill(route.match, Match(path=PathMatch(PathKind.EXACT, path)))
        route_actions.to_application(route, NOTHING).cluster = cluster
    refused = host.routes.add()
    route_matches.fill(refused.match, Match())
    refused.direct_response.status = 403
    refused.direct_response.body.inline_string = otherwise
    return made


def _routes(
    view: ServiceView, port: ServicePort, seams: ServiceSeams, came_in_by: int | None
) -> Iterator[Route]:
    """The rules attached to the port; all to the port itself if there are none."""
    attached = dict(view.routes)
    if port.port in attached:
        yield from http_routes.routes(attached[port.port], seams.of_rules(), seams.service, port=came_in_by)
        if came_in_by is not None and not any(_everything(rule) for rule in attached[port.port]):
            yield _no_match()
        return
    made = _to(names.cluster(view.key, port.port), seams.service)
    if view.external is not None and came_in_by is None and view.external.host:
        # By a local port, it is that port that was asked for.
        made.route.host_rewrite_literal = view.external.host
    yield made


def _to(cluster: str, parts: Parts) -> Route:
    """Everything to `cluster`."""
    made = route_actions.start(parts, DEFAULT)
    route_matches.fill(made.match, Match())
    route_actions.to_clusters(made, parts).cluster = cluster
    return made


def _everything(rule: RuleView) -> bool:
    return not rule.hostnames and rule.match in EVERYTHING


def _no_match() -> Route:
    """What no rule takes is answered here, as Envoy would: whose routes it found is what keeps it from being looked for outside
    (see `fallback`).
    """
    made = Route(name=NO_MATCH)
    route_matches.fill(made.match, Match())
    made.direct_response.status = 404
    made.direct_response.body.inline_string = NO_RULE
    return made


def _configuration(name: str) -> RouteConfiguration:
    made = RouteConfiguration(name=name)
    # Clusters come and go on their own; a missing one is a 503, not a refusal.
    made.validate_clusters.value = False
    return made


def _virtual_host(made: RouteConfiguration, name: str, domains: tuple[str, ...]) -> VirtualHost:
    host = made.virtual_hosts.add()
    host.name = name
    host.domains.extend(domains)
    return host
