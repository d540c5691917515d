"""The resource types, and the order in which updates of them are sent.

Make before break (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations):

    step  type                        why it stands here
    1     Cluster                     routes and listeners refer to it
    2     ClusterLoadAssignment       a new or changed cluster warms until it has its endpoints; never waits
    3     Listener                    refers to clusters (TCP) and to routes
    4     ScopedRouteConfiguration    refers to route configurations
    5     RouteConfiguration          refers to clusters, which are there by now
    6     removals: scopes, routes, listeners and clusters last, when nothing refers to them any more

Each step waits until the client has acknowledged the ones before it. Endpoints, secrets and all other types depend on nothing and
never wait.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "type.googleapis.com/"
CLUSTER: Final = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = PREFIX + "envoy.config.listener.v3.Listener"
SCOPED_ROUTE: Final = PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
ROUTE: Final = PREFIX + "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST: Final = PREFIX + "envoy.config.route.v3.VirtualHost"
SECRET: Final = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
RUNTIME: Final = PREFIX + "envoy.service.runtime.v3.Runtime"
EXTENSION_CONFIG: Final = PREFIX + "envoy.config.core.v3.TypedExtensionConfig"

ALL_TYPES: Final = (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    SCOPED_ROUTE,
    ROUTE,
    VIRTUAL_HOST,
    SECRET,
    RUNTIME,
    EXTENSION_CONFIG,
)

GATED: Final = (CLUSTER, LISTENER, SCOPED_ROUTE, ROUTE)
"""Additions and changes of each wait for those of the types before it."""

REMOVAL_ORDER: Final = (SCOPED_ROUTE, ROUTE, LISTENER, CLUSTER)
"""Removals of each wait for all additions, and for the removals of the types before it."""

WHOLE_IN_SOTW: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})
"""In the state of the world, a response of these types has to hold everything: what is missing is removed. A
response of any other type may hold only what changed."""

WILDCARD_BY_DEFAULT: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})
"""Types for which a first request without names means everything."""

SHORT_NAMES: Final = {url: url.rpartition(".")[2] for url in ALL_TYPES}


def short_name(type_url: str) -> str:
    """`Cluster` for Cluster's type URL: what people and metrics call it."""
    return SHORT_NAMES.get(type_url) or type_url.rpartition(".")[2]
