"""Which of several routes, and of their matches, comes first.

Rules: HTTPRouteRule.matches and GRPCRouteRule.matches of https://gateway-api.sigs.k8s.io/reference/spec/, and for the
kinds of routes at one service GEP-1294 (https://gateway-api.sigs.k8s.io/geps/gep-1294/#route-types). The most specific
host name comes before all of this: compare only routes that apply to one host name.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.age import seniority
from mesh.gateways import ListenerSet
from mesh.routes import Match, PathKind, PathMatch, Route, RouteKind, ValueKind

Place = tuple[Route, int, int]
"""A route, and the places of a rule in it and of a match in that rule, from 0."""

Age = tuple[int, float, str]

SPECIFICITY = (RouteKind.GRPC, RouteKind.HTTP, RouteKind.TLS, RouteKind.TCP, RouteKind.UDP)
"""The kinds of routes, the most specific first. At one port of a service, one kind only applies."""

# What the specification leaves open for regular expressions: an exact path is surer, while a prefix is often the
# catch-all `/`, behind which an expression would never be tried.
_PATHS = (PathKind.EXACT, PathKind.REGEX, PathKind.PREFIX)


def in_order(routes: Iterable[Route]) -> tuple[Place, ...]:
    """Every match of `routes`, HTTPRoutes or GRPCRoutes, the one to be tried first first.

    The order of `routes` does not matter. Matches of a GRPCRoute come before all of an HTTPRoute.
    """
    found = (
        ((SPECIFICITY.index(route.kind), _strength(route.kind, match), age(route), rule_at, match_at), route)
        for route in routes
        for rule_at, rule in enumerate(route.rules)
        for match_at, match in enumerate(rule.matches)
    )
    ordered = sorted(found, key=lambda each: each[0])
    return tuple((route, rule_at, match_at) for (_, _, _, rule_at, match_at), route in ordered)


def age(of: Route | ListenerSet) -> Age:
    """Sorts the older first, and those of one age by `<namespace>/<name>`; one without a time of creation last."""
    return (*seniority(of.created), str(of.key))


def prevailing(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Of the routes at one port of a service, those that apply: all of the most specific kind, the oldest first.

    The others are Conflicted (GEP-1294).
    """
    candidates = sorted(routes, key=age)
    kind = next((kind for kind in SPECIFICITY if any(route.kind is kind for route in candidates)), None)
    return tuple(route for route in candidates if route.kind is kind)


def _strength(kind: RouteKind, match: Match) -> tuple[int, ...]:
    """Sorts the stronger match first. Strengths of matches of different kinds of routes are not compared."""
    return _of_grpc(match) if kind is RouteKind.GRPC else _of_http(match)


def _of_http(match: Match) -> tuple[int, ...]:
    path = match.path or PathMatch(PathKind.PREFIX, "")
    return (
        _PATHS.index(path.kind),
        -len(path.value),
        match.method is None,
        -len(match.headers),
        -len(match.query),
    )


def _of_grpc(match: Match) -> tuple[int, ...]:
    """By the characters of the service, then those of the method; an expression comes after an exact name."""
    grpc = match.grpc
    service, method = ("", "") if grpc is None else (grpc.service or "", grpc.method or "")
    regex = grpc is not None and grpc.kind is ValueKind.REGEX
    return _rank(service, regex), -len(service), _rank(method, regex), -len(method), -len(match.headers)


def _rank(name: str, regex: bool) -> int:
    if not name:
        return 2
    return 1 if regex else 0
