"""Rules of routes on a real Envoy: the traps of the specification."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from envoy import http_routes
from mesh.routes import (
    Cors,
    Filter,
    Header,
    Match,
    PathKind,
    PathMatch,
    PathRewrite,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    RewriteKind,
    SessionKind,
    SessionPersistence,
    UrlRewrite,
    ValueKind,
    ValueMatch,
)
from mesh.rules import Mirror, RuleView
from mesh.targeting import RouteName
from pb.envoy.config.route.v3.route_components_pb2 import Route
from tests.support.route_envoy import ROUTE, a_backend, a_rule, front, prefix


def made(*rules: RuleView, port: int | None = None) -> list[Route]:
    return list(http_routes.routes(rules, {}, port=port))


REWRITES = [  # the table of https://gateway-api.sigs.k8s.io/reference/spec/#httppathmodifier, and `/` and FULL
    ("/a", "/xyz", "/a/bar", "/xyz/bar"),
    ("/b", "/xyz/", "/b/bar", "/xyz/bar"),
    ("/a", "/xyz", "/a", "/xyz"),
    ("/a", "/xyz", "/a/", "/xyz/"),
    ("/a", "/xyz", "/a/bar?q=1", "/xyz/bar?q=1"),
    ("/c", "", "/c/bar", "/bar"),
    ("/c", "", "/c/", "/"),
    ("/c", "", "/c", "/"),
    ("/c", "", "/c?q=/c/d", "/?q=/c/d"),
    ("/d", "/", "/d/bar", "/bar"),
    ("/d", "/", "/d/", "/"),
    ("/d", "/", "/d", "/"),
    ("/e.f", "/", "/e.f/bar", "/bar"),
    ("/", "/xyz", "/bar", "/xyz/bar"),
]


async def test_a_prefix_is_rewritten_as_the_table_of_the_specification_has_it(tmp_path: Path) -> None:
    wanted = dict.fromkeys((matched, new) for matched, new, _, _ in REWRITES)
    rules = [
        a_rule(
            match=prefix(matched),
            filters=(UrlRewrite(path=PathRewrite(RewriteKind.PREFIX, new)),),
            place=place,
        )
        for place, (matched, new) in enumerate(wanted)
    ]
    redirects = [
        a_rule(
            match=prefix(f"/redirect{matched}".rstrip("/")),
            filters=(RequestRedirect(path=PathRewrite(RewriteKind.PREFIX, new)),),
        )
        for matched, new in wanted
    ]
    async with front(tmp_path, made(*redirects, *rules), {"a": 1}) as get:
        for matched, new, asked, expected in REWRITES:
            got = await get(asked)
            assert got.body["path"] == expected, (matched, new, asked)
            if matched != "/":
                got = await get(f"/redirect{asked}")
                assert got.headers["location"] == f"http://127.0.0.1:{get.port}{expected}", (matched, asked)
        assert (await get("/redirect/bar")).headers["location"].endswith("/xyz/bar")


async def test_paths_methods_headers_and_queries_match_whole(tmp_path: Path) -> None:
    def to(name: str, match: Match) -> RuleView:
        return a_rule(a_backend(name), match=match)

    regex = ValueKind.REGEX
    routes = made(
        to("a", Match(PathMatch(PathKind.EXACT, "/exact"))),
        to("b", Match(PathMatch(PathKind.REGEX, "/re/[0-9]+"))),
        to("c", prefix("/p", method="PUT")),
        to("d", prefix("/h", headers=(ValueMatch("x-one", "1"), ValueMatch("x-two", "v[0-9]", regex)))),
        to("e", prefix("/q", query=(ValueMatch("n", "[0-9]+", regex), ValueMatch("k", "v")))),
        to("f", prefix("/pkg.Service/")),
        to("g", prefix("/encoded", query=(ValueMatch("n", "a b/ü"),))),
    )
    cases: list[tuple[str, str, list[tuple[str, str]], str | None]] = [
        ("GET", "/exact", [], "a"),
        ("GET", "/exact?x=1", [], "a"),
        ("GET", "/exact/", [], None),
        ("GET", "/re/12", [], "b"),
        ("GET", "/re/12?x=1", [], "b"),
        ("GET", "/re/12/x", [], None),
        ("GET", "/x/re/12", [], None),
        ("PUT", "/p", [], "c"),
        ("PUT", "/p/q", [], "c"),
        ("PUT", "/pq", [], None),
        ("GET", "/p", [], None),
        ("GET", "/h", [("X-One", "1"), ("x-two", "v7")], "d"),
        ("GET", "/h", [("x-one", "1"), ("x-two", "v77")], None),
        ("GET", "/h", [("x-one", "1")], None),
        ("GET", "/h", [("x-one", "11"), ("x-two", "v7")], None),
        ("GET", "/q?k=v&n=12", [], "e"),
        ("GET", "/q?k=v&n=12x", [], None),
        ("GET", "/q?k=w&n=12", [], None),
        ("GET", "/q?n=12", [], None),
        ("GET", "/encoded?n=a%20b%2f%C3%BC", [], "g"),
        ("GET", "/encoded?n=a+b/%c3%bc", [], "g"),
        ("GET", "/encoded?n=a-b/%c3%bc", [], None),
        ("POST", "/pkg.Service/Method", [], "f"),
        ("POST", "/pkg.Services/Method", [], None),
    ]
    async with front(tmp_path, routes, dict.fromkeys("abcdefg", 1)) as get:
        for method, path, headers, expected in cases:
            got = await get(path, method, headers)
            assert got.body.get("name") == (expected and f"{expected}-0"), (method, path, headers)
            assert got.status == (200 if expected else 404)


async def test_the_first_rule_that_matches_wins_whatever_the_others_say(tmp_path: Path) -> None:
    routes = made(a_rule(a_backend("a"), match=prefix("/x")), a_rule(a_backend("b"), match=prefix("/x/y")))
    async with front(tmp_path, routes, {"a": 1, "b": 1}) as get:
        assert (await get("/x/y")).body["name"] == "a-0"


REDIRECTS: list[tuple[RequestRedirect, int | None, str, str]] = [
    # the redirect, the port requests come in by, the authority asked, Location
    (RequestRedirect(hostname="other"), 80, "me", "http://other/p?q=1"),
    (RequestRedirect(hostname="other"), 8080, "me:8080", "http://other:8080/p?q=1"),
    (RequestRedirect(hostname="other", port=80), 8080, "me:8080", "http://other/p?q=1"),
    (RequestRedirect(port=8443), 80, "me", "http://me:8443/p?q=1"),
    (RequestRedirect(port=8443), 80, "me:80", "http://me:8443/p?q=1"),
    (RequestRedirect(), 8080, "me", "http://me:8080/p?q=1"),
    (RequestRedirect(scheme="https"), 80, "me", "https://me/p?q=1"),
    (RequestRedirect(scheme="https"), 80, "me:80", "https://me/p?q=1"),
    (RequestRedirect(scheme="https"), 8080, "me:8080", "https://me:443/p?q=1"),
    (RequestRedirect(scheme="https", hostname="other"), 8080, "me:8080", "https://other/p?q=1"),
    (RequestRedirect(scheme="https", port=8443), 80, "me", "https://me:8443/p?q=1"),
    (RequestRedirect(scheme="https", port=443), 80, "me", "https://me/p?q=1"),
    (RequestRedirect(scheme="https"), None, "me:1", "https://me:443/p?q=1"),
    (RequestRedirect(scheme="https", hostname="other", port=443), 80, "me", "https://other/p?q=1"),
    (RequestRedirect(path=PathRewrite(RewriteKind.FULL, "/new")), None, "me:1", "http://me:1/new?q=1"),
]


async def test_redirects_follow_the_port_rules_of_the_specification(tmp_path: Path) -> None:
    routes = [
        route
        for number, (redirect, port, _, _) in enumerate(REDIRECTS)
        for route in made(
            a_rule(filters=(redirect,), match=Match(headers=(ValueMatch("case", str(number)),))), port=port
        )
    ]
    async with front(tmp_path, routes, {}) as get:
        for number, (redirect, port, authority, expected) in enumerate(REDIRECTS):
            got = await get("/p?q=1", headers=[("case", str(number)), ("host", authority)])
            assert (got.status, got.headers["location"]) == (302, expected), (redirect, port)


async def test_a_redirect_has_the_status_that_was_asked_for(tmp_path: Path) -> None:
    statuses = (301, 302, 303, 307, 308)
    routes = made(
        *(a_rule(filters=(RequestRedirect(status=each),), match=prefix(f"/{each}")) for each in statuses)
    )
    async with front(tmp_path, routes, {}) as get:
        assert [(await get(f"/{each}")).status for each in statuses] == list(statuses)


async def test_headers_are_set_added_and_removed_of_requests_and_answers(tmp_path: Path) -> None:
    filters: tuple[Filter, ...] = (
        RequestHeaderModifier(
            set=(Header("x-set", "100%"), Header("x-empty", "")),
            add=(Header("x-add", "b"),),
            remove=("x-gone",),
        ),
        ResponseHeaderModifier(
            set=(Header("x-app", "no"),), add=(Header("x-more", "%DYN%"),), remove=("x-name",)
        ),
    )
    of_backend: tuple[Filter, ...] = (
        RequestHeaderModifier(set=(Header("host", "inner.test"),), remove=("x-add",)),
        ResponseHeaderModifier(add=(Header("x-app", "b"),)),
    )
    routes = made(
        a_rule(a_backend("b", filters=of_backend), filters=filters, match=prefix("/b")),
        a_rule(filters=filters),
    )
    sent = [("x-set", "old"), ("x-add", "a"), ("x-gone", "here"), ("host", "api")]
    async with front(tmp_path, routes, {"a": 1, "b": 1}) as get:
        got = await get("/", headers=sent)
        assert got.body["host"] == "api"
        assert (got.body["h:x-set"], got.body["h:x-empty"], got.body["h:x-add"]) == ("100%", "", "a,b")
        assert "h:x-gone" not in got.body
        assert (got.headers["x-app"], got.headers["x-more"]) == ("no", "%DYN%")
        assert "x-name" not in got.headers

        got = await get("/b", headers=sent)
        assert (got.body["name"], got.body["host"]) == ("b-0", "inner.test")
        assert "h:x-add" not in got.body
        assert [value for name, value in got.every if name == "x-app"] == ["no", "b"]


async def test_host_and_whole_path_are_rewritten(tmp_path: Path) -> None:
    full = UrlRewrite(hostname="inner.test", path=PathRewrite(RewriteKind.FULL, "/one\\1"))
    async with front(tmp_path, made(a_rule(filters=(full,))), {"a": 1}) as get:
        got = await get("/x/y?q=1", headers=[("host", "outer")])
        assert (got.body["host"], got.body["path"]) == ("inner.test", "/one\\1?q=1")


async def test_weights_and_backends_that_are_not_there_have_their_shares(tmp_path: Path) -> None:
    routes = made(
        a_rule(a_backend("a", 3), a_backend("b", 1), a_backend("c", 0), match=prefix("/plain")),
        a_rule(
            a_backend("a", 500_000),
            a_backend("no", 1_000_000, problem="gone"),
            a_backend("b", 500_000),
            match=prefix("/some"),
        ),
        a_rule(a_backend("no", problem="gone"), a_backend("a", 0), match=prefix("/none")),
        a_rule(a_backend("missing"), match=prefix("/missing")),
    )
    async with front(tmp_path, routes, {"a": 1, "b": 1, "c": 1}) as get:

        async def shares(path: str, requests: int = 1000) -> Counter[str]:
            found: Counter[str] = Counter()
            for _ in range(requests):
                got = await get(path)
                found[got.body.get("name") or str(got.status)] += 1
            return found

        plain = await shares("/plain")
        assert set(plain) == {"a-0", "b-0"}
        assert plain["a-0"] == pytest.approx(750, abs=70)  # five standard deviations
        some = await shares("/some")
        assert set(some) == {"a-0", "b-0", "500"}
        assert some["500"] == pytest.approx(500, abs=80)
        assert some["a-0"] == pytest.approx(250, abs=70)
        got = await get("/none")
        assert (got.status, got.body["text"]) == (500, http_routes.NO_BACKEND)
        assert (await get("/missing")).status == 503


async def test_a_grpc_client_is_told_that_a_backend_is_unavailable(tmp_path: Path) -> None:
    gone = replace(
        a_rule(a_backend(problem="gone"), match=prefix("/s/")), route=RouteName("GRPCRoute", ROUTE.key)
    )
    async with front(tmp_path, made(gone), {}) as get:
        for path, status in (("/s/m", "14"), ("/t/m", "12")):  # UNAVAILABLE, UNIMPLEMENTED
            got = await get(path, "POST", [("content-type", "application/grpc")])
            assert (got.status, got.headers["grpc-status"]) == (200, status)


async def test_copies_go_to_mirrors_by_share_and_change_no_answer(tmp_path: Path) -> None:
    rule = a_rule(
        mirrors=(
            Mirror(a_backend("all")),
            Mirror(a_backend("half"), (1, 2)),
            Mirror(a_backend("x", problem="gone")),
        )
    )
    async with front(tmp_path, made(rule), {"a": 1, "all": 1, "half": 1}) as get:
        for _ in range(400):
            assert (await get("/", headers=[("host", "api")])).body["name"] == "a-0"
        assert len(get.asked["all-0"]) == 400
        assert len(get.asked["half-0"]) == pytest.approx(200, abs=50)
        assert {each.host for each in get.asked["all-0"]} == {"api"}


async def test_preflights_are_answered_and_answers_permitted(tmp_path: Path) -> None:
    listed = Cors(
        origins=("https://a.test", "https://*.b.test", "http://c.test:80"),
        credentials=True,
        methods=("GET", "PUT"),
        headers=("x-one", "x-two"),
        expose=("x-name",),
        max_age=60,
    )
    routes = made(
        a_rule(filters=(listed,), match=prefix("/put", method="PUT", headers=(ValueMatch("x-one", "1"),))),
        a_rule(filters=(Cors(origins=("*",), methods=("*",), headers=("*",)),), match=prefix("/any")),
        a_rule(filters=(listed,), match=prefix("/get")),
    )

    def preflight(origin: str, method: str = "PUT") -> list[tuple[str, str]]:
        return [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "x-one"),
        ]

    async with front(tmp_path, routes, {"a": 1}) as get:
        for origin in ("https://a.test", "https://x.y.b.test", "http://c.test"):
            for path in ("/get", "/put"):
                got = await get(path, "OPTIONS", preflight(origin))
                assert got.status == 200
                assert {
                    name: value for name, value in got.headers.items() if name.startswith("access-control")
                } == {
                    "access-control-allow-origin": origin,
                    "access-control-allow-credentials": "true",
                    "access-control-allow-methods": "GET,PUT",
                    "access-control-allow-headers": "x-one,x-two",
                    "access-control-max-age": "60",
                    "access-control-expose-headers": "x-name",
                }
        for origin in ("http://a.test", "https://b.test", "https://a.test:8443", "https://ab.test"):
            got = await get("/get", "OPTIONS", preflight(origin))
            assert "access-control-allow-origin" not in got.headers
        assert (await get("/put", "OPTIONS", preflight("https://a.test", "GET"))).status == 404
        assert not get.asked["a-0"]

        got = await get("/any", "OPTIONS", preflight("https://anyone.test", "PATCH"))
        assert got.headers["access-control-allow-origin"] in {"*", "https://anyone.test"}
        assert got.headers["access-control-allow-methods"] in {"*", "PATCH"}
        assert got.headers["access-control-allow-headers"] in {"*", "x-one"}

        got = await get("/get", headers=[("origin", "https://a.test")])
        assert (got.body["name"], got.headers["access-control-allow-origin"]) == ("a-0", "https://a.test")
        assert got.headers["access-control-expose-headers"] == "x-name"
        got = await get("/get", headers=[("origin", "https://evil.test")])
        assert (got.body["name"], got.headers.get("access-control-allow-origin")) == ("a-0", None)


@pytest.mark.parametrize("kind", list(SessionKind))
async def test_a_session_stays_with_its_endpoint(tmp_path: Path, kind: SessionKind) -> None:
    rule = a_rule(persistence=SessionPersistence(kind, "sess"))
    async with front(tmp_path, made(rule), {"a": 3}) as get:
        got = await get("/")
        if kind is SessionKind.COOKIE:
            cookie = got.headers["set-cookie"]
            assert "Max-Age" not in cookie
            session = ("cookie", cookie.split(";")[0])
        else:
            session = ("sess", got.headers["sess"])
        assert {(await get("/x", headers=[session])).body["name"] for _ in range(10)} == {got.body["name"]}
        assert len({(await get("/")).body["name"] for _ in range(10)}) == 3


async def test_a_session_stays_with_its_backend_whatever_the_shares(tmp_path: Path) -> None:
    sessions = SessionPersistence(name="sess", absolute_timeout=timedelta(minutes=5), permanent=True)
    rule = a_rule(a_backend("a"), a_backend("b"), a_backend("no", problem="gone"), persistence=sessions)
    async with front(tmp_path, made(rule), {"a": 2, "b": 2}) as get:
        began = set()
        for _ in range(40):
            first = await get("/")
            if first.status == 500:
                continue
            began.add(first.body["name"])
            set_cookies = [value for name, value in first.every if name == "set-cookie"]
            assert all("Max-Age=300" in each for each in set_cookies)
            cookie = "; ".join(each.split(";")[0] for each in ("other=1", *set_cookies))
            again = {(await get("/", headers=[("cookie", cookie)])).body.get("name") for _ in range(8)}
            assert again == {first.body["name"]}
        assert began == {"a-0", "a-1", "b-0", "b-1"}
