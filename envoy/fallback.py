"""Hosts that no scope leads to: behind a wildcard, or known to nobody in the mesh.

Scoped routes know no wildcard, and a miss is a 404. So where a workload may call such hosts, a few lines of Lua stand first in its
connection manager. A request that found no route is given `*:` before its authority, for as long as its route is looked for once
more: the key of the scope, what stands before the first colon, is then `*`, and the domains of that scope's virtual hosts match the
end of the authority as ever. Every other request costs one comparison.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/lua_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/dynamic_forward_proxy_filter
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from envoy import names, packing, route_actions, route_matches
from envoy.clusters import by_request
from envoy.connection import NO_ROUTE
from envoy.external import dns_cache
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from mesh.names import MESH_SUFFIX
from mesh.routes import Match
from mesh.views import OutboundListenersView, WildcardView
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from pb.envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import FilterConfig
from pb.envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua

SCOPE = "*"
"""The key, which no host name can be. As a name of a resource it would mean all of them."""
ANOTHER_LOOK = "meshwright.another_look"
NAMES = "envoy.filters.http.dynamic_forward_proxy"
# `metadata` makes Envoy choose the route at once, while the authority is the longer one.
SCRIPT = """\
function envoy_on_request(request)
  if request:streamInfo():routeName() ~= "" then
    return
  end
  local headers = request:headers()
  local authority = headers:get(":authority")
  if authority == nil or string.sub(authority, 1, 2) == "*:" then
    return
  end
  headers:replace(":authority", "*:" .. authority)
  request:clearRouteCache()
  request:metadata()
  headers:replace(":authority", authority)
end
"""
OF_THE_MESH = rf"\*:([^.:]*|.*\.{MESH_SUFFIX})(:[0-9]+)?"
"""Names without a dot and names of the mesh are nobody's outside: they are never asked of a resolver."""


def needed(view: OutboundListenersView, parts: Parts) -> bool:
    return bool(view.wildcards or parts.unknown)


def filters(view: OutboundListenersView, parts: Parts) -> tuple[HttpFilter, ...]:
    """What a connection manager of scoped routes needs besides. None can be disabled and enabled by a route: Envoy decides which
    filters there are by the route that it finds first.
    """
    if not needed(view, parts):
        return ()
    script = Lua()
    script.default_source_code.inline_string = SCRIPT
    # Else the route is looked for a third time, by the authority as it was.
    script.clear_route_cache.value = False
    resolving = FilterConfig(dns_cache_config=dns_cache(), save_upstream_address=True)
    return (
        HttpFilter(FilterOrder.ANOTHER_LOOK, ANOTHER_LOOK, packing.type_url(Lua), serialised(script)),
        HttpFilter(FilterOrder.NAMES, NAMES, packing.type_url(FilterConfig), serialised(resolving)),
    )


def resources(view: OutboundListenersView, parts: Parts) -> Iterator[Message]:
    """The scope of such hosts and its routes, and the cluster of those that nobody knows."""
    if not needed(view, parts):
        return
    if parts.unknown:
        yield by_request(names.UNKNOWN)
    scope = ScopedRouteConfiguration(name=names.OUTSIDE, route_configuration_name=names.OUTSIDE)
    scope.key.fragments.add().string_key = SCOPE
    yield scope
    yield _routes(view, parts)


def _routes(view: OutboundListenersView, parts: Parts) -> RouteConfiguration:
    made = RouteConfiguration(name=names.OUTSIDE)
    made.validate_clusters.value = False
    for each in view.wildcards:
        host = made.virtual_hosts.add()
        host.name = f"{names.cluster(each.service, each.port)}"
        host.domains.extend(each.domains)
        host.routes.add().CopyFrom(_to_wildcard(each))
    if parts.unknown:
        host = made.virtual_hosts.add()
        host.name = names.UNKNOWN
        host.domains.append("*")
        _refuse(host.routes.add())
        host.routes.add().CopyFrom(_to_unknown(parts))
    return made


def _to_wildcard(view: WildcardView) -> Route:
    made = route_actions.start(NOTHING, "wildcard")
    route_matches.fill(made.match, Match())
    route_actions.to_clusters(made, NOTHING).cluster = names.cluster(view.service, view.port)
    return made


def _to_unknown(parts: Parts) -> Route:
    made = Route.FromString(parts.unknown)
    made.name = names.UNKNOWN
    route_matches.fill(made.match, Match())
    route_actions.to_clusters(made, NOTHING).cluster = names.UNKNOWN
    return made


def _refuse(route: Route) -> None:
    route.name = "nobody"
    route_matches.fill(route.match, Match())
    header = route.match.headers.add()
    header.name = ":authority"
    header.string_match.safe_regex.regex = OF_THE_MESH
    route.direct_response.status = 404
    route.direct_response.body.inline_string = NO_ROUTE
