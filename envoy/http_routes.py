"""Rules of HTTPRoute and GRPCRoute as Envoy's routes.

https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from envoy import names, route_actions, route_extensions, route_filters, route_matches
from envoy.route_filters import Entrance
from envoy.seams import NOTHING, Parts, RuleName
from mesh.routes import Cors, Filter, PathMatch, RequestRedirect, RouteKind, ValueKind, ValueMatch
from mesh.rules import BackendView, Mirror, RuleView
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteAction

NO_AUTHORIZER = "nobody can be asked about this request: the status of the route says why\n"
NO_BACKEND = "no backend: the status of the route says why\n"
GRPC_UNAVAILABLE = 503
"""What Envoy tells a gRPC client as UNAVAILABLE, as https://gateway-api.sigs.k8s.io/reference/spec/#grpcbackendref asks for;
500 would be UNKNOWN (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md)."""


def routes(
    rules: tuple[RuleView, ...],
    of_rules: Mapping[RuleName, Parts],
    otherwise: Parts = NOTHING,
    *,
    port: int | None = None,
    scheme: str = "http",
) -> Iterator[Route]:
    """The routes of `rules`, in their order: the first that matches wins.

    `of_rules`: what policies say of each rule (`ServiceSeams.of_rules`), and `otherwise` of those that are not in it.
    `port` is the one that requests come in by, where it is known, and `scheme` what they speak, `http` or `https`:
    redirects may have to say it.

    A rule is one route, unless some of several backends are treated in ways of their own, or are none, or sessions stay
    with theirs: then each backend has a route, which takes its share by a fraction of the requests. Envoy draws one number
    for each request, so fractions are cumulative; the shares are exact to a millionth.
    """
    entrance = Entrance(port, scheme)
    for rule in rules:
        parts = of_rules.get((rule.route, rule.place), otherwise)
        preflights = _preflights(rule)
        if preflights is not None:
            yield from _rule(preflights, parts, entrance)
        yield from _rule(rule, parts, entrance)


def route_name(rule: RuleView) -> str:
    """`<kind> <namespace>/<name>#<place of the rule>`, as access logs show it."""
    return f"{rule.route.kind} {rule.route.key}#{rule.place}"


def _preflights(rule: RuleView) -> RuleView | None:
    """The rule for the preflights of what `rule` takes, where `rule` itself would not take them: their method is OPTIONS, the
    one they ask for is in a header, and they have none of the other headers
    (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
    """
    wanted = rule.match
    filters = (*rule.filters, *(each for backend in rule.backends for each in backend.filters))
    if not any(isinstance(each, Cors) for each in filters) or not (wanted.method or wanted.headers):
        return None
    asked = ValueMatch("access-control-request-method", wanted.method or ".+", _kind(wanted.method))
    origin = ValueMatch("origin", ".+", ValueKind.REGEX)
    return replace(rule, match=replace(wanted, method="OPTIONS", headers=(origin, asked)))


def _kind(value: str | None) -> ValueKind:
    return ValueKind.EXACT if value else ValueKind.REGEX


def _rule(rule: RuleView, parts: Parts, entrance: Entrance) -> Iterator[Route]:
    backends = tuple(each for each in rule.backends if each.weight > 0)
    if _redirect(rule.filters) is not None or all(each.problem for each in backends):
        yield _route(rule, parts, entrance, ())
    elif len(backends) == 1 or not (
        route_extensions.by_cookie(rule)
        or any(each.problem or each.filters or each.mirrors for each in backends)
    ):
        yield _route(rule, parts, entrance, backends)
    else:
        yield from _split(rule, parts, entrance, backends)


def _split(
    rule: RuleView, parts: Parts, entrance: Entrance, backends: tuple[BackendView, ...]
) -> Iterator[Route]:
    """A route for each backend, before which those of sessions that began there stand, whatever the share."""
    persistence = route_extensions.by_cookie(rule)
    if persistence is not None:
        for each in backends:
            if not each.problem:
                made = _route(rule, parts, entrance, (each,))
                route_extensions.began_at(made.match, rule, persistence, _cluster(each))
                yield made
    total = sum(each.weight for each in backends)
    taken = 0
    for each in backends:
        taken += each.weight
        made = _route(rule, parts, entrance, (each,))
        if persistence is not None and not each.problem:
            route_extensions.begin_at(made, rule, persistence, _cluster(each))
        if taken < total:
            route_matches.millionths(made.match.runtime_fraction, taken, total)
        yield made


def _route(rule: RuleView, parts: Parts, entrance: Entrance, backends: tuple[BackendView, ...]) -> Route:
    """To `backends`, which have filters or mirrors, or are none, only where there is but one."""
    made = route_actions.start(parts, route_name(rule))
    route_matches.fill(made.match, rule.match)
    path = rule.match.path or route_matches.EVERY_PATH
    filters = rule.filters
    if len(backends) == 1:
        filters = (*filters, *backends[0].filters)
    if rule.authorizer is not None and rule.authorizer.backend.problem:
        # A filter that cannot be must not be skipped (https://gateway-api.sigs.k8s.io/reference/spec/#httproutefilter).
        made.direct_response.status = 500
        made.direct_response.body.inline_string = NO_AUTHORIZER
        return made
    if rule.authorizer is not None:
        route_extensions.authorized(made, rule.authorizer)
    route_filters.change_headers(made, filters)
    redirect = _redirect(filters)
    if redirect is not None:
        route_filters.redirect(made.redirect, redirect, path, entrance)
    elif all(each.problem for each in backends):
        made.direct_response.status = GRPC_UNAVAILABLE if rule.route.kind == RouteKind.GRPC else 500
        made.direct_response.body.inline_string = NO_BACKEND
    else:
        _forward(route_actions.to_clusters(made, parts), rule, filters, path, backends)
        route_extensions.cors(made, filters)
        route_extensions.session(made, rule)
    return made


def _forward(
    action: RouteAction,
    rule: RuleView,
    filters: tuple[Filter, ...],
    path: PathMatch,
    backends: tuple[BackendView, ...],
) -> None:
    if len(backends) == 1:
        action.cluster = _cluster(backends[0])
    else:
        for each in backends:
            added = action.weighted_clusters.clusters.add()
            added.name = _cluster(each)
            added.weight.value = each.weight
    route_filters.rewrite(action, filters, path)
    if not action.host_rewrite_literal:
        _rename(action, backends)
    for mirror in (*rule.mirrors, *(backends[0].mirrors if len(backends) == 1 else ())):
        if not mirror.backend.problem:
            _mirror(action, mirror)


def _rename(action: RouteAction, backends: tuple[BackendView, ...]) -> None:
    """A backend outside the mesh is asked by its own name, for it does not know that of the service."""
    if len(backends) == 1 and backends[0].host:
        action.host_rewrite_literal = backends[0].host
    elif len(backends) > 1:
        for added, each in zip(action.weighted_clusters.clusters, backends, strict=True):
            if each.host:
                added.host_rewrite_literal = each.host


def _mirror(action: RouteAction, mirror: Mirror) -> None:
    made = action.request_mirror_policies.add()
    made.cluster = _cluster(mirror.backend)
    route_matches.millionths(made.runtime_fraction, *mirror.share)
    # The copy is the same request: `<host>-shadow`, Envoy's default, is a name that no application knows.
    made.disable_shadow_host_suffix_append = True
    if mirror.backend.host:
        made.host_rewrite_literal = mirror.backend.host


def _cluster(backend: BackendView) -> str:
    return names.cluster(backend.service, backend.port, backend.subset)


def _redirect(filters: tuple[Filter, ...]) -> RequestRedirect | None:
    return next((each for each in filters if isinstance(each, RequestRedirect)), None)
