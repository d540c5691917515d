from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from envoy import http_routes, route_extensions
from envoy.check import check
from envoy.seams import NO_POLICIES, NOTHING, Parts, RuleName, ServiceSeams
from mesh.names import Key
from mesh.routes import (
    Backend,
    BackendKind,
    Cors,
    ExternalAuth,
    Header,
    Match,
    PathKind,
    PathMatch,
    PathRewrite,
    RequestHeaderModifier,
    RequestRedirect,
    RewriteKind,
    SessionKind,
    SessionPersistence,
    UrlRewrite,
    ValueMatch,
)
from mesh.rules import Authorizer, Mirror, RuleView
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteAction
from pb.envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSessionPerRoute
from pb.envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from tests.support.route_envoy import ROUTE, a_backend, a_rule, prefix


def routes(*rules: RuleView, seams: ServiceSeams = NO_POLICIES) -> list[Route]:
    made = list(http_routes.routes(rules, seams.of_rules(), seams.service))
    for each in made:
        check(each)
    return made


def only(rule: RuleView) -> Route:
    (made,) = routes(rule)
    return made


def test_a_route_is_named_by_its_document_and_the_place_of_the_rule() -> None:
    assert [each.name for each in routes(a_rule(), a_rule(place=2))] == [
        "HTTPRoute default/r#0",
        "HTTPRoute default/r#2",
    ]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (None, "prefix", "/"),
        (PathMatch(PathKind.PREFIX, "/"), "prefix", "/"),
        (PathMatch(PathKind.PREFIX, "/a"), "path_separated_prefix", "/a"),
        (PathMatch(PathKind.PREFIX, "/pkg.Service/"), "prefix", "/pkg.Service/"),
        (PathMatch(PathKind.EXACT, "/a/"), "path", "/a/"),
    ],
)
def test_paths(path: PathMatch | None, field: str, value: str) -> None:
    match = only(a_rule(match=Match(path))).match
    assert match.WhichOneof("path_specifier") == field
    assert getattr(match, field) == value


def test_backends_of_which_nothing_more_is_said_are_weighted_clusters() -> None:
    action = only(a_rule(a_backend("a", 9), a_backend("b", 1), a_backend("c", 0))).route
    assert [(each.name, each.weight.value) for each in action.weighted_clusters.clusters] == [
        ("default/a:80", 9),
        ("default/b:80", 1),
    ]
    assert only(a_rule(a_backend("a", 9, subset="v2"))).route.cluster == "default/a:80/v2"


def test_backends_with_filters_of_their_own_or_that_are_not_there_have_routes_of_their_own() -> None:
    alone = a_backend("b", 1, filters=(RequestHeaderModifier(set=(Header("x", "b"),)),))
    made = routes(a_rule(a_backend("a", 2), alone, a_backend("c", 1, problem="gone")))
    shares = [each.match.runtime_fraction.default_value.numerator for each in made]
    assert shares == [500_000, 750_000, 0]
    assert not made[-1].match.HasField("runtime_fraction")
    assert [each.route.cluster for each in made] == ["default/a:80", "default/b:80", ""]
    assert [len(each.request_headers_to_add) for each in made] == [0, 1, 0]
    assert made[-1].direct_response.status == 500
    assert "gone" not in made[-1].direct_response.body.inline_string  # outsiders may read it


def test_weight_0_everywhere_and_no_backend_at_all_are_500() -> None:
    for rule in (a_rule(a_backend(weight=0)), RuleView(ROUTE, 0, Match(), ())):
        assert only(rule).direct_response.status == 500


def test_a_redirect_needs_no_backend_and_is_not_concerned_by_actions_of_policies() -> None:
    action = RouteAction()
    action.timeout.seconds = 1
    said = Route()
    said.typed_per_filter_config["f"].type_url = "t/x"
    seams = ServiceSeams(Parts(action=action.SerializeToString(), route=said.SerializeToString()))
    (made,) = routes(RuleView(ROUTE, 0, Match(), (), filters=(RequestRedirect(scheme="https"),)), seams=seams)
    assert made.WhichOneof("action") == "redirect"
    assert made.typed_per_filter_config["f"].type_url == "t/x"


@pytest.mark.parametrize(
    ("port", "scheme", "location_port"),
    [(443, "https", 0), (8443, "https", 8443), (80, "http", 0), (443, "http", 443)],
)
def test_a_redirect_says_the_port_that_requests_came_in_by_unless_it_is_well_known(
    port: int, scheme: str, location_port: int
) -> None:
    rule = a_rule(filters=(RequestRedirect(hostname="other"),))
    (made,) = http_routes.routes((rule,), {}, port=port, scheme=scheme)
    assert made.redirect.port_redirect == location_port


def test_policies_of_a_rule_are_those_of_its_place() -> None:
    action = RouteAction()
    action.timeout.seconds = 7
    parts = Parts(action=action.SerializeToString())
    made = routes(a_rule(), a_rule(place=1), seams=ServiceSeams(rules=(((ROUTE, 1), parts),)))
    assert [each.route.timeout.seconds for each in made] == [0, 7]


def test_what_policies_say_of_rules_is_walked_once_for_all_rules() -> None:
    """What a thousand hosts cost at a gateway is a thousand times what one does."""

    class Said(tuple[tuple[RuleName, Parts], ...]):
        __slots__ = ()
        walks = 0

        def __iter__(self) -> Iterator[tuple[RuleName, Parts]]:
            Said.walks += 1
            return super().__iter__()

    seams = ServiceSeams(rules=Said(((ROUTE, place), NOTHING) for place in range(100)))
    assert len(routes(*(a_rule(place=place) for place in range(100)), seams=seams)) == 100
    assert Said.walks == 1


def test_modifiers_act_one_after_another() -> None:
    first = RequestHeaderModifier(set=(Header("a", "1"), Header("b", "1")), add=(Header("c", "1"),))
    second = RequestHeaderModifier(set=(Header("b", "2"),), add=(Header("c", "2"),), remove=("a",))
    made = only(a_rule(a_backend(filters=(second,)), filters=(first,)))
    overwrite, append = (
        HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
    )
    assert list(made.request_headers_to_remove) == ["a"]
    assert [
        (each.header.key, each.header.value, each.append_action) for each in made.request_headers_to_add
    ] == [("b", "2", overwrite), ("c", "1", append), ("c", "2", append)]


def test_headers_of_policies_stay() -> None:
    said = Route(request_headers_to_remove=["x-policy"])
    seams = ServiceSeams(Parts(route=said.SerializeToString()))
    (made,) = routes(a_rule(filters=(RequestHeaderModifier(remove=("a",)),)), seams=seams)
    assert list(made.request_headers_to_remove) == ["x-policy", "a"]


def test_a_later_path_rewrite_takes_the_place_of_an_earlier_one() -> None:
    backend = a_backend(filters=(UrlRewrite(path=PathRewrite(RewriteKind.PREFIX, "/b")),))
    full = UrlRewrite(path=PathRewrite(RewriteKind.FULL, "/a"))
    action = only(a_rule(backend, match=prefix("/x"), filters=(full,))).route
    assert (action.prefix_rewrite, action.HasField("regex_rewrite")) == ("/b", False)


def test_mirrors_keep_the_authority_and_those_that_are_not_there_are_left_out() -> None:
    rule = a_rule(mirrors=(Mirror(a_backend("m"), (1, 3)), Mirror(a_backend("n", problem="gone"))))
    (mirror,) = only(rule).route.request_mirror_policies
    assert (mirror.cluster, mirror.disable_shadow_host_suffix_append) == ("default/m:80", True)
    assert mirror.runtime_fraction.default_value.numerator == 333_333


def test_somebody_is_asked_before_a_backend_or_a_redirect_and_where_nobody_can_be_it_is_500() -> None:
    redirect = (RequestRedirect(hostname="b.example"),)
    said = ExternalAuth(Backend(BackendKind.SERVICE, Key("default", "a"), 80))
    for filters in ((), redirect):
        made = only(a_rule(filters=filters, authorizer=Authorizer(a_backend("a"), said)))
        assert list(made.typed_per_filter_config) == ["meshwright.route_authorization"]
        refused = only(a_rule(filters=filters, authorizer=Authorizer(a_backend("a", problem="gone"), said)))
        assert refused.direct_response.status == 500
        assert not refused.typed_per_filter_config


def test_preflights_have_a_route_where_the_rule_would_not_take_them() -> None:
    allow = (Cors(origins=("*",)),)
    assert len(routes(a_rule(filters=allow))) == 1
    assert len(routes(a_rule(match=prefix("/", method="PUT")))) == 1
    first, second = routes(
        a_rule(filters=allow, match=prefix("/", method="PUT", query=(ValueMatch("q", "1"),)))
    )
    found = {each.name: each.string_match.exact for each in first.match.headers}
    assert found == {":method": "OPTIONS", "origin": "", "access-control-request-method": "PUT"}
    assert first.match.query_parameters == second.match.query_parameters


def test_a_session_cookie_is_the_rule_s_own_unless_it_is_named_and_lasts_only_if_it_shall() -> None:
    def cookie(persistence: SessionPersistence, place: int = 0) -> CookieBasedSessionState:
        route = only(a_rule(persistence=persistence, place=place))
        found = StatefulSessionPerRoute.FromString(
            route.typed_per_filter_config[route_extensions.SESSION_FILTER.name].value
        )
        return CookieBasedSessionState.FromString(found.stateful_session.session_state.typed_config.value)

    assert cookie(SessionPersistence()).cookie.name != cookie(SessionPersistence(), 1).cookie.name
    assert cookie(SessionPersistence()) == cookie(SessionPersistence())
    lasting = SessionPersistence(name="s", absolute_timeout=timedelta(hours=1), permanent=True)
    assert (cookie(lasting).cookie.name, cookie(lasting).cookie.ttl.seconds) == ("s", 3600)
    passing = SessionPersistence(name="s", absolute_timeout=timedelta(hours=1))
    assert not cookie(passing).cookie.HasField("ttl")


def test_sessions_by_header_share_weighted_clusters() -> None:
    rule = a_rule(a_backend("a"), a_backend("b"), persistence=SessionPersistence(SessionKind.HEADER, "s"))
    assert len(only(rule).route.weighted_clusters.clusters) == 2
