"""The HTTP filters of a connection manager, one after another, as they are for the route that was chosen.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/http/http_filters
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any

from envoy import connection, fallback
from explain import filter_access, filter_asking, filter_faults, filter_tokens
from explain.filter_access import AUDIT
from explain.request import Request
from explain.sight import Passing, Sight
from pb.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route, VirtualHost
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)

Reader = Callable[[Any, Any | None, Route | None, Request, Sight], Passing]
"""Reads the configuration of a filter in the connection manager, and the one of the route, if it has one."""

READERS: Mapping[str, Reader] = {
    "envoy.extensions.filters.http.cors.v3.Cors": filter_faults.cors,
    "envoy.extensions.filters.http.fault.v3.HTTPFault": filter_faults.fault,
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": filter_tokens.tokens,
    "envoy.extensions.filters.http.rbac.v3.RBAC": filter_access.access,
    "envoy.extensions.common.matching.v3.ExtensionWithMatcher": filter_asking.matched,
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": filter_asking.authorization,
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": filter_asking.local_limit,
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit": filter_asking.shared_limit,
    "envoy.extensions.filters.http.buffer.v3.Buffer": filter_asking.buffer,
    "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency": filter_asking.concurrency,
    "envoy.extensions.filters.http.admission_control.v3.AdmissionControl": filter_asking.concurrency,
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSession": filter_asking.session,
    "envoy.extensions.filters.http.lua.v3.Lua": filter_asking.script,
    "envoy.extensions.filters.http.wasm.v3.Wasm": filter_asking.script,
}
SILENT = frozenset(
    {
        "envoy.extensions.filters.http.router.v3.Router",
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        "envoy.extensions.filters.http.on_demand.v3.OnDemand",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    }
)
"""Filters that decide nothing about whether and where a request goes."""
OF_PLACE = frozenset({connection.ROUTER, fallback.ANOTHER_LOOK, AUDIT})


@dataclass(frozen=True, slots=True)
class Found:
    """The route of a request, and what is around it. None: there is no route."""

    table: RouteConfiguration | None = None
    host: VirtualHost | None = None
    route: Route | None = None

    def configurations(self, name: str) -> Iterator[Any]:
        """What is said of a filter, the nearest first."""
        for holder in (self.route, self.host, self.table):
            if holder is not None and name in holder.typed_per_filter_config:
                yield holder.typed_per_filter_config[name]


def run(manager: HttpConnectionManager, found: Found, request: Request, sight: Sight) -> Passing:
    """What the filters make of a request, up to the router."""
    passing = Passing(request)
    for each in manager.http_filters:
        if each.name in OF_PLACE:
            continue
        if not passing.goes_on:
            break
        passing = passing.then(_one(each, found, passing.request, sight))
    return passing


def _one(each: HttpFilter, found: Found, request: Request, sight: Sight) -> Passing:
    own, enabled = None, not each.disabled
    for packed in found.configurations(each.name):
        own, enabled = packed, True
        if packed.Is(FilterConfig.DESCRIPTOR):
            said = FilterConfig.FromString(packed.value)
            own, enabled = said.config, not said.disabled
        break
    if not enabled:
        return Passing(request)
    kind = each.typed_config.type_url.rpartition("/")[2]
    reader = READERS.get(kind)
    if reader is not None:
        return reader(each.typed_config, own, found.route, request, sight)
    if kind in SILENT:
        return Passing(request)
    caution = f"the filter {each.name} ({kind}) runs at {sight.whose}: what it does with a request is not known here"
    return Passing(request, cautions=(caution,))
