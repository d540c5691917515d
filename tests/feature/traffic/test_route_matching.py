"""HTTPRoute: which rule takes a request, and which of several."""

from __future__ import annotations

import pytest

from tests.support.traffic.client import Answer
from tests.support.traffic.routes import route
from tests.support.traffic.world import Traffic


def rule(name: str, *matches: str) -> str:
    """Requests that meet one of `matches` are answered with `x-rule: <name>`, and by nobody else's rule."""
    header = f"{{set: [{{name: x-rule, value: {name}}}]}}"
    return "\n".join(
        (
            f"matches: [{', '.join(matches)}]",
            f"filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {header}}}]",
            "backendRefs: [{name: api, port: 80}]",
        )
    )


def path(value: str, kind: str = "PathPrefix", more: str = "") -> str:
    return f'{{path: {{type: {kind}, value: "{value}"}}{more and f", {more}"}}}'


def taken(answer: Answer) -> str:
    """The name of the rule that took it; the status where none did."""
    return answer.headers.get("x-rule", str(answer.status))


RULES = (
    rule("exact", path("/exact", "Exact")),
    rule("prefix", path("/prefix")),
    rule("regex", path("/items/[0-9]+", "RegularExpression")),
    rule("post", path("/method", more="method: POST")),
    rule("get", path("/method", more="method: GET")),
    rule("header", path("/h", more="headers: [{name: X-Color, value: blue}]")),
    rule("headers", path("/h", more="headers: [{name: x-color, value: blue}, {name: x-size, value: large}]")),
    rule(
        "header-regex",
        path("/h", more='headers: [{type: RegularExpression, name: x-color, value: "gr[ae]y"}]'),
    ),
    rule("query", path("/q", more="queryParams: [{name: animal, value: whale}]")),
    rule(
        "query-regex", path("/q", more='queryParams: [{type: RegularExpression, name: n, value: "[0-9]+"}]')
    ),
    rule("either", path("/one", "Exact"), path("/two", "Exact")),
)

REQUESTS = [
    ("GET", "/exact", {}, "exact"),
    ("GET", "/exact?q=1", {}, "exact"),
    ("GET", "/exact/", {}, "404"),
    ("GET", "/Exact", {}, "404"),
    ("GET", "/prefix", {}, "prefix"),
    ("GET", "/prefix/", {}, "prefix"),
    ("DELETE", "/prefix/below?q=1", {}, "prefix"),
    ("GET", "/prefixed", {}, "404"),
    ("GET", "/items/42", {}, "regex"),
    ("GET", "/items/42?x=y", {}, "regex"),
    ("GET", "/items/42/more", {}, "404"),
    ("GET", "/items/x", {}, "404"),
    ("POST", "/method", {}, "post"),
    ("GET", "/method", {}, "get"),
    ("PUT", "/method", {}, "404"),
    ("GET", "/h", {"x-color": "blue"}, "header"),
    ("GET", "/h", {"x-color": "blue", "X-Size": "large"}, "headers"),
    ("GET", "/h", {"x-color": "grey"}, "header-regex"),
    ("GET", "/h", {"x-color": "greyish"}, "404"),
    ("GET", "/h", {"x-color": "Blue"}, "404"),
    ("GET", "/h", {}, "404"),
    ("GET", "/q?animal=whale", {}, "query"),
    ("GET", "/q?a=b&animal=whale&n=x", {}, "query"),
    ("GET", "/q?animal=whales", {}, "404"),
    ("GET", "/q?n=17", {}, "query-regex"),
    ("GET", "/q?n=17a", {}, "404"),
    ("GET", "/q", {}, "404"),
    ("GET", "/one", {}, "either"),
    ("GET", "/two", {}, "either"),
    ("GET", "/", {}, "404"),
]


async def test_each_kind_of_match(traffic: Traffic) -> None:
    async with traffic.apply(route(*RULES)):
        for method, asked, headers, expected in REQUESTS:
            answer = await traffic.get(f"http://api.mesh{asked}", method=method, headers=headers)
            assert taken(answer) == expected, (method, asked, headers, answer)
        assert len(traffic.seen("api")) == sum(expected != "404" for *_, expected in REQUESTS)
    assert (await traffic.get("http://api.mesh/")).status == 200


async def test_the_names_and_the_port_of_the_service_are_one(traffic: Traffic) -> None:
    async with traffic.apply(route(rule("one", path("/one")))):
        for host in ("api", "api:80", "api.mesh", "api.default", "api.default.mesh", "api.default.mesh:80"):
            assert taken(await traffic.get(f"http://{host}/one")) == "one", host
            assert (await traffic.get(f"http://{host}/two")).status == 404, host


# Of https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule, field matches: each line is more specific than the next.
STEPS = [
    ("exact", path("/a/b", "Exact")),
    ("long", path("/a/b")),
    ("short-method", path("/a", more="method: GET")),
    ("short-headers", path("/a", more="headers: [{name: x-a, value: a}, {name: x-b, value: b}]")),
    (
        "short-header-queries",
        path(
            "/a",
            more="headers: [{name: x-a, value: a}], queryParams: [{name: q, value: a}, {name: p, value: a}]",
        ),
    ),
    (
        "short-header-query",
        path("/a", more="headers: [{name: x-a, value: a}], queryParams: [{name: q, value: a}]"),
    ),
    ("short-header", path("/a", more="headers: [{name: x-a, value: a}]")),
    ("short-queries", path("/a", more="queryParams: [{name: q, value: a}, {name: p, value: a}]")),
    ("short-query", path("/a", more="queryParams: [{name: q, value: a}]")),
    ("short", path("/a")),
    ("all", path("/")),
]


@pytest.mark.parametrize("order", [1, -1])
async def test_the_more_specific_match_wins_wherever_it_stands(traffic: Traffic, order: int) -> None:
    """Every second rule in a route of its own: routes of one service are merged."""
    steps = STEPS[::order]
    documents = route(*(rule(*each) for each in steps[::2]), name="a") + route(
        *(rule(*each) for each in steps[1::2]), name="b"
    )
    both = {"x-a": "a", "x-b": "b"}
    async with traffic.apply(documents):
        for expected, method, asked, headers in [
            ("exact", "GET", "/a/b?q=a", both),
            ("long", "GET", "/a/b/c?q=a", both),
            ("short-method", "GET", "/a?q=a&p=a", both),
            ("short-headers", "PUT", "/a?q=a&p=a", both),
            ("short-header-queries", "PUT", "/a?q=a&p=a", {"x-a": "a"}),
            ("short-header-query", "PUT", "/a?q=a", {"x-a": "a"}),
            ("short-header", "PUT", "/a", {"x-a": "a"}),
            ("short-queries", "PUT", "/a?p=a&q=a", {}),
            ("short-query", "PUT", "/a?q=a", {}),
            ("short", "PUT", "/a", {}),
            ("all", "PUT", "/other", both),
        ]:
            answer = await traffic.get(f"http://api.mesh{asked}", method=method, headers=headers)
            assert taken(answer) == expected, (method, asked, headers)


async def test_between_equals_the_older_route_wins_then_the_name_then_the_place(traffic: Traffic) -> None:
    same = path("/same")
    young = route(rule("young", same), name="a", created="2026-02-01T00:00:00Z")
    old = route(rule("old", same), name="z", created="2026-01-01T00:00:00Z")
    unknown = route(rule("first", same), rule("second", same), name="m")
    async with traffic.apply(young + unknown) as file:
        assert taken(await traffic.get("http://api.mesh/same")) == "young"
        await file.replace(young + old + unknown)
        assert taken(await traffic.get("http://api.mesh/same")) == "old"
        await file.replace(unknown + route(rule("later name", same), name="n"))
        assert taken(await traffic.get("http://api.mesh/same")) == "first"


async def test_rules_may_have_names(traffic: Traffic) -> None:
    named = [f"name: {each}\n{rule(each, path(f'/{each}')).strip()}" for each in ("one", "two")]
    async with traffic.apply(route(*named)):
        assert [taken(await traffic.get(f"http://api.mesh/{each}")) for each in ("one", "two", "three")] == [
            "one",
            "two",
            "404",
        ]
