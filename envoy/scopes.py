"""Scoped routes: which host name leads to which service.

The key of a scope is the host of `:authority` without the port (see `listeners`), so a service needs one scope for each
of its names, however many ports it has.
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/scoped_route.proto
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy import names
from mesh.views import ScopeView
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration


def scoped_routes(view: ScopeView) -> Iterator[ScopedRouteConfiguration]:
    own = tuple((host, host) for host in view.hosts)
    for name, host in own or names.scopes(view.service, view.caller_namespace):
        made = ScopedRouteConfiguration(name=name, route_configuration_name=names.route(view.service))
        made.key.fragments.add().string_key = host
        yield made
