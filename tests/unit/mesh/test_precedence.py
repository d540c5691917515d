from __future__ import annotations

import datetime as dt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.precedence import in_order, prevailing
from mesh.routes import GrpcMethod, Match, PathKind, PathMatch, Route, RouteKind, ValueKind, ValueMatch
from tests.support.routes import a_route, a_rule

OLD, NEW = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2020, 2024))


def path(kind: PathKind, value: str) -> Match:
    return Match(PathMatch(kind, value))


def prefix(value: str = "/", *, method: str | None = None, headers: int = 0, query: int = 0) -> Match:
    return Match(
        PathMatch(PathKind.PREFIX, value),
        method,
        tuple(ValueMatch(f"h{number}", "v") for number in range(headers)),
        tuple(ValueMatch(f"q{number}", "v") for number in range(query)),
    )


def call(
    service: str | None = None, method: str | None = None, *, regex: bool = False, headers: int = 0
) -> Match:
    kind = ValueKind.REGEX if regex else ValueKind.EXACT
    return Match(
        PathMatch(PathKind.EXACT, f"/{service}/{method}"),
        headers=tuple(ValueMatch(f"h{number}", "v") for number in range(headers)),
        grpc=GrpcMethod(service, method, kind),
    )


# Each list is in the order of the specification, the first to be tried first.
HTTP = [
    path(PathKind.EXACT, "/aaaa"),
    path(PathKind.EXACT, "/a"),
    path(PathKind.REGEX, "/.*longer"),
    path(PathKind.REGEX, "/.*"),
    prefix("/aa", method="GET", headers=2),
    prefix("/aa", method="GET", headers=1, query=3),
    prefix("/aa", headers=3),
    prefix("/aa", headers=1, query=2),
    prefix("/aa", headers=1, query=1),
    prefix("/aa", query=4),
    prefix("/a", method="GET", headers=4),
    prefix("/", method="GET"),
    prefix("/", headers=2),
    prefix("/"),
]
GRPC = [
    call("shop.Baskets", "Add", headers=1),
    call("shop.Baskets", "Add"),
    call("shop.Baskets", "Ad"),
    call("shop.Baskets"),
    call("a.B", "Method"),
    call("a.*", regex=True),
    call(None, "Add", headers=1),
    call(None, "Add"),
    call(None, "A.*", regex=True),
    Match(),
]


@pytest.mark.parametrize(("kind", "ordered"), [(RouteKind.HTTP, HTTP), (RouteKind.GRPC, GRPC)])
def test_the_stronger_match_comes_first_whatever_the_order_of_rules_and_matches(
    kind: RouteKind, ordered: list[Match]
) -> None:
    @given(st.permutations(ordered), st.integers(1, len(ordered)))
    def shuffled(matches: list[Match], size: int) -> None:
        """Cut into routes of one rule each, of up to `size` matches."""
        routes = [
            a_route(f"r{start}", a_rule(*matches[start : start + size]), kind=kind)
            for start in range(0, len(matches), size)
        ]
        assert [route.rules[rule].matches[match] for route, rule, match in in_order(routes)] == ordered

    shuffled()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (a_route("z", created=OLD), a_route("a", created=NEW)),
        (a_route("z", created=NEW), a_route("a")),  # one without a time of creation is the newest
        (a_route("a"), a_route("b")),
        (a_route("a/z"), a_route("b/a")),
        # "{namespace}/{name}" in alphabetical order: '-' comes before '/'.
        (a_route("a-b/x"), a_route("a/x")),
    ],
)
def test_ties_go_to_the_older_and_then_by_name(first: Route, second: Route) -> None:
    assert [route for route, _, _ in in_order([second, first])] == [first, second]


def test_ties_within_a_route_go_to_the_first() -> None:
    route = a_route("a", a_rule(prefix("/b"), prefix("/a")), a_rule(prefix("/a"), prefix("/longer")))
    assert [(rule, match) for _, rule, match in in_order([route])] == [(1, 1), (0, 0), (0, 1), (1, 0)]


VALUES = st.sampled_from(["/", "/a", "/b", "/a/b", "/a/b/c"])
MATCHES = st.builds(
    Match,
    st.builds(PathMatch, st.sampled_from(PathKind), VALUES),
    st.sampled_from([None, "GET"]),
    st.sampled_from([(), (ValueMatch("a", "b"),)]),
    st.sampled_from([(), (ValueMatch("a", "b"),)]),
)
RULES = st.lists(MATCHES, min_size=1, max_size=3).map(lambda matches: a_rule(*matches))
ROUTES = st.lists(
    st.tuples(st.lists(RULES, min_size=1, max_size=3), st.sampled_from([None, OLD, NEW])), max_size=5
).map(lambda given: [a_route(f"r{n}", *rules, created=age) for n, (rules, age) in enumerate(given)])


@given(ROUTES, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(routes: list[Route], chance: Random) -> None:
    shuffled = list(routes)
    chance.shuffle(shuffled)
    assert in_order(shuffled) == in_order(routes)


@given(ROUTES)
def test_every_match_is_there_once(routes: list[Route]) -> None:
    expected = {
        (route, rule_at, match_at)
        for route in routes
        for rule_at, rule in enumerate(route.rules)
        for match_at in range(len(rule.matches))
    }
    found = in_order(routes)
    assert len(found) == len(expected)
    assert set(found) == expected


def test_one_kind_of_route_applies_at_a_port() -> None:
    grpc, http, tls, tcp = (
        a_route(kind.value.lower(), kind=kind)
        for kind in (RouteKind.GRPC, RouteKind.HTTP, RouteKind.TLS, RouteKind.TCP)
    )
    older = a_route("older", kind=RouteKind.HTTP, created=OLD)
    assert prevailing([tcp, tls, http, older, grpc]) == (grpc,)
    assert prevailing([tcp, tls, http, older]) == (older, http)
    assert prevailing([tcp, tls]) == (tls,)
    assert prevailing([tcp]) == (tcp,)
    assert prevailing([]) == ()
