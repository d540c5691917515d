"""HTTP filters that rules of routes configure: CORS, session persistence and external authorization. All stand disabled in every
connection manager, and a route that has a configuration for one enables it there.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/cors_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/stateful_session_filter
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import timedelta

from envoy import authorization, names
from envoy.packing import pack, type_url
from envoy.seams import FilterOrder, HttpFilter
from mesh.names import hostnames
from mesh.routes import Cors, Filter, SessionKind, SessionPersistence
from mesh.rules import Authorizer, RuleView
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteMatch
from pb.envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors as CorsFilter
from pb.envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from pb.envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from pb.envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from pb.envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from pb.envoy.type.matcher.v3.string_pb2 import StringMatcher

CORS_FILTER = HttpFilter(
    FilterOrder.CORS, "envoy.filters.http.cors", type_url(CorsFilter), b"", disabled=True
)
SESSION_FILTER = HttpFilter(
    FilterOrder.SESSION, "envoy.filters.http.stateful_session", type_url(StatefulSession), b"", disabled=True
)
COOKIE_STATE = "envoy.http.stateful_session.cookie"
HEADER_STATE = "envoy.http.stateful_session.header"
AUTHORIZATION_FILTER = authorization.standing("meshwright.route_authorization")
AUTHORIZATION_TIMEOUT = timedelta(seconds=1)
"""How long a request waits for a permission: the Gateway API has no field for it."""
ANY = "*"
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def cors(route: Route, filters: Iterable[Filter]) -> None:
    """What CORS among `filters` allows. Envoy answers preflights itself, also those of origins that are not allowed: they
    get no permission, and no other answer that could be taken for one. Routes that lead to no cluster are not concerned.
    """
    for each in filters:
        if isinstance(each, Cors):
            pack(route.typed_per_filter_config[CORS_FILTER.name], _policy(each))


def authorized(route: Route, authorizer: Authorizer) -> None:
    """Somebody is asked about each request (GEP-1494). Who does not answer permits nothing."""
    said, backend = authorizer.said, authorizer.backend
    grpc = said.backend.grpc
    asked = authorization.Asked(
        cluster=names.cluster(backend.service, backend.port, backend.subset),
        grpc=grpc,
        timeout=AUTHORIZATION_TIMEOUT,
        host=backend.host or hostnames(backend.service, "")[0],
        prefix=said.path,
        headers=said.headers or (None if grpc else ()),
        upstream=said.response_headers or None,
        body=authorization.Body(said.body) if said.body else None,
    )
    authorization.on_route(route, AUTHORIZATION_FILTER.name, asked)


def session(route: Route, rule: RuleView) -> None:
    """Requests of one session go to the endpoint that took the first, while it is there (GEP-1619).

    Envoy knows no idle time of a session, nor an end of one whose cookie has none.
    """
    if rule.persistence is not None:
        made = session_filter(rule.persistence, session_name(rule, rule.persistence))
        pack(route.typed_per_filter_config[SESSION_FILTER.name], made)


def session_filter(persistence: SessionPersistence, name: str, path: str = "/") -> StatefulSessionPerRoute:
    """What a route says to `SESSION_FILTER`. `name` is the cookie's or header's, `path` the cookie's."""
    made = StatefulSessionPerRoute()
    state = made.stateful_session.session_state
    if persistence.kind is SessionKind.HEADER:
        state.name = HEADER_STATE
        pack(state.typed_config, HeaderBasedSessionState(name=name))
    else:
        state.name = COOKIE_STATE
        pack(state.typed_config, _cookie(persistence, name, path))
    return made


def session_name(rule: RuleView, persistence: SessionPersistence) -> str:
    """The name of the cookie or the header. Without one given, each rule has its own, or two rules of one host would
    take each other's sessions for theirs.
    """
    if persistence.name is not None:
        return persistence.name
    digest = hashlib.sha256(f"{rule.route.kind} {rule.route.key}#{rule.place}".encode()).hexdigest()
    return f"session-{digest[:8]}"


def by_cookie(rule: RuleView) -> SessionPersistence | None:
    """How sessions of `rule` are kept, if that is by a cookie."""
    found = rule.persistence
    return None if found is None or found.kind is not SessionKind.COOKIE else found


def began_at(match: RouteMatch, rule: RuleView, persistence: SessionPersistence, cluster: str) -> None:
    """Narrow `match` to sessions that `begin_at` said to be at `cluster`."""
    header = match.headers.add()
    header.name = "cookie"
    cookie = re.escape(_backend_cookie(rule, persistence, cluster))
    header.string_match.safe_regex.regex = f"(.*; *)?{cookie}( *;.*)?"


def begin_at(route: Route, rule: RuleView, persistence: SessionPersistence, cluster: str) -> None:
    """Make the client say from now on that its session is at `cluster`: the session's own cookie names an endpoint, and
    Envoy has chosen the cluster before it looks for that.
    """
    cookie = f"{_backend_cookie(rule, persistence, cluster)}; Path=/; HttpOnly"
    lasts = _lasts(persistence)
    if lasts is not None:
        cookie += f"; Max-Age={int(lasts.total_seconds())}"
    added = route.response_headers_to_add.add(append_action=HeaderValueOption.APPEND_IF_EXISTS_OR_ADD)
    added.header.key = "set-cookie"
    added.header.value = cookie.replace("%", "%%")  # `%` begins a command of Envoy's formatter


def _backend_cookie(rule: RuleView, persistence: SessionPersistence, cluster: str) -> str:
    return f"{session_name(rule, persistence)}-at={hashlib.sha256(cluster.encode()).hexdigest()[:8]}"


def _lasts(persistence: SessionPersistence) -> timedelta | None:
    return persistence.absolute_timeout if persistence.permanent else None


def _cookie(persistence: SessionPersistence, name: str, path: str) -> CookieBasedSessionState:
    made = CookieBasedSessionState()
    made.cookie.name = name
    made.cookie.path = path
    lasts = _lasts(persistence)
    if lasts is not None:
        made.cookie.ttl.FromTimedelta(lasts)
    return made


def _policy(wanted: Cors) -> CorsPolicy:
    """Envoy says no `*`, which credentialed requests may not be told: it says what the request asked for."""
    made = CorsPolicy(
        allow_methods=_listed(wanted.methods),
        allow_headers=_listed(wanted.headers),
        expose_headers=",".join(wanted.expose),
        max_age=str(wanted.max_age),
    )
    for each in wanted.origins:
        _origin(made.allow_origin_string_match.add(), each)
    made.allow_credentials.value = wanted.credentials
    made.forward_not_matching_preflights.value = False
    return made


def _listed(values: tuple[str, ...]) -> str:
    return ANY if ANY in values else ",".join(values)


def _origin(made: StringMatcher, origin: str) -> None:
    """A browser leaves out the well-known port of the scheme (https://url.spec.whatwg.org/#url-port-string)."""
    scheme, _, _ = origin.partition("://")
    origin = origin.removesuffix(DEFAULT_PORTS.get(scheme, ":"))
    if ANY not in origin or origin == ANY:
        made.exact = origin
    else:
        made.safe_regex.regex = "[^/:]+".join(re.escape(each) for each in origin.split(ANY))
