"""HTTPRoutes of a gateway: the features that the other files show in the mesh, for clients outside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest_asyncio

from tests.feature.traffic.test_route_cors import CORS, preflight, said
from tests.feature.traffic.test_route_filters import SENT, modifier, redirect, rewrite
from tests.feature.traffic.test_route_matching import REQUESTS, RULES, path, rule, taken
from tests.feature.traffic.test_route_mirror import copies, mirror
from tests.feature.traffic.test_route_sessions import cookies, sent
from tests.support.traffic.client import Answer, shares
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.routes import grant, route, subset, to
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic, World

API = f"backendRefs: [{to('api')}]"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    ports = {name: world.ports.take() for name in ("http", "second", "isolated")}
    listeners = f"""
  - {{name: http, port: {ports["http"]}, protocol: HTTP}}
  - {{name: second, port: {ports["second"]}, protocol: HTTP}}
  - {{name: wide, port: {ports["isolated"]}, protocol: HTTP, hostname: "*.example"}}
  - {{name: narrow, port: {ports["isolated"]}, protocol: HTTP, hostname: shop.example}}
"""
    async with gateway(world, "front", documents("front", listeners), ports, PublicAuthority()) as made:
        yield made


def at_gateway(*rules: str, parent: str = "name: front, sectionName: http", name: str = "r") -> str:
    return route(*rules, gateway=parent, name=name)


async def asked(outside: Outside, paths: Iterable[str]) -> list[Answer]:
    return [await outside.get(f"http://shop.example{path}") for path in paths]


async def test_matches(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(at_gateway(*RULES)):
        for method, path, headers, expected in REQUESTS:
            answer = await outside.get(f"http://shop.example{path}", method=method, headers=headers)
            assert taken(answer) == expected, (method, path, headers)


async def test_redirects_and_rewrites(traffic: Traffic, outside: Outside) -> None:
    port = outside.ports["http"]
    rules = (
        redirect("/scheme", "scheme: https"),
        redirect("/port", "port: 8083, statusCode: 307"),
        redirect("/host", "hostname: example.org, statusCode: 308"),
        redirect("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 303"),
        rewrite("/strip", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
        rewrite("/full", "hostname: inner.example, path: {type: ReplaceFullPath, replaceFullPath: /one}"),
    )
    async with traffic.apply(at_gateway(*rules)):
        moved = await asked(outside, ("/scheme", "/port", "/host", "/old/x"))
        assert [(each.status, each.headers["location"]) for each in moved] == [
            (302, "https://shop.example:443/scheme"),
            (307, "http://shop.example:8083/port"),
            (308, f"http://example.org:{port}/host"),
            (303, f"http://shop.example:{port}/new/x"),
        ]
        stripped, full = await asked(outside, ("/strip/x", "/full/x"))
        assert (stripped.json["path"], stripped.seen["host"]) == ("/x", "shop.example")
        assert (full.json["path"], full.seen["host"]) == ("/one", "inner.example")


async def test_headers_of_rules_and_backends(traffic: Traffic, outside: Outside) -> None:
    of_v2 = to("api-v2", more=f"filters: [{modifier('Request', 'two')}]")
    rules = f"filters: [{modifier('Response', 'ours')}]\nbackendRefs: [{to('api-v1')}, {of_v2}]"
    async with traffic.apply(subset("v1") + subset("v2") + at_gateway(rules)):
        answers = [await outside.get("http://shop.example/", headers=SENT) for _ in range(40)]
    assert set(shares(answers, "version")) == {"v1", "v2"}
    for each in answers:
        assert each.headers["x-set"] == "ours"
        assert each.seen["x-set"] == ("two" if each.json["labels"]["version"] == "v2" else "mine")


async def test_shares_and_what_is_not_there(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(at_gateway(f"backendRefs: [{to('api', 3)}, {to('store', 1)}]")) as file:
        answers = await asked(outside, ["/"] * 200)
        assert within(0.25, 200, sum(each.json["service"] == "store" for each in answers))
        for backends in (f"[{to('missing')}]", f"[{to('api', 0)}]", "[]"):
            await file.replace(at_gateway(f"backendRefs: {backends}"))
            assert (await asked(outside, ["/"]))[0].status == 500, backends
        other = at_gateway(f"backendRefs: [{to('other', more='namespace: other')}]")
        await file.replace(other)
        assert (await asked(outside, ["/"]))[0].status == 500
        await file.replace(other + grant("other"))
        assert (await asked(outside, ["/"]))[0].workload == "other-1"


async def test_mirrors(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(
        at_gateway(f"filters: [{mirror('store')}, {mirror('probe', 'percent: 50')}]\n{API}")
    ):
        assert {each.json["service"] for each in await asked(outside, ["/"] * 40)} == {"api"}
        assert await copies(traffic, "store", 40) == 40
        assert within(0.5, 40, await copies(traffic, "probe", 5))


async def test_timeouts_and_retries(traffic: Traffic, outside: Outside) -> None:
    rules = (
        f"matches: [{{path: {{type: PathPrefix, value: /quick}}}}]\ntimeouts: {{request: 200ms}}\n{API}",
        f"timeouts: {{request: 5s, backendRequest: 200ms}}\nretry: {{codes: [503], attempts: 3, backoff: 1ms}}\n{API}",
    )
    async with traffic.apply(at_gateway(*rules)):
        slow = await outside.get("http://shop.example/quick", headers={"x-behave": "delay=600ms"})
        assert (slow.status, slow.seconds < 0.5) == (504, True)
        for behave in ("fail-first=2", "fail-first=1;reset"):
            answer = await outside.get(
                "http://shop.example/", headers={"x-behave": behave, "x-request-id": behave}
            )
            assert answer.status == 200, behave
        traffic.servers["api-1"].behave("delay=1s")
        assert {each.status for each in await asked(outside, ["/"] * 8)} == {200}


async def test_sessions_and_cors(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(
        at_gateway(f"sessionPersistence: {{sessionName: kept}}\nfilters: [{CORS}]\n{API}")
    ):
        first = await outside.get("http://shop.example/")
        visited = [await outside.get("http://shop.example/", headers=sent(first)) for _ in range(10)]
        assert {each.workload for each in visited} == {first.workload}
        answer = await outside.get(
            "http://shop.example/", method="OPTIONS", headers=preflight("https://a.bar.com")
        )
        assert said(answer)["allow-origin"] == "https://a.bar.com"


async def test_a_route_of_one_port_of_the_gateway(traffic: Traffic, outside: Outside) -> None:
    for parent, expected in (
        ("name: front", (200, 200)),
        (f"name: front, port: {outside.ports['second']}", (404, 200)),
        ("name: front, sectionName: http", (200, 404)),
    ):
        async with traffic.apply(at_gateway(API, parent=parent)):
            found = tuple(
                [(await outside.get("http://shop.example/", each)).status for each in ("http", "second")]
            )
            assert found == expected, parent


async def test_a_request_belongs_to_the_listener_with_the_most_specific_host_alone(
    traffic: Traffic, outside: Outside
) -> None:
    path = "matches: [{path: {type: PathPrefix, value: /only}}]"
    wide = at_gateway(API, parent="name: front, sectionName: wide", name="w")
    narrow = at_gateway(f"{path}\n{API}", parent="name: front, sectionName: narrow", name="n")
    async with traffic.apply(wide + narrow):
        for url, status in (
            ("http://other.example/x", 200),
            ("http://shop.example/only", 200),
            ("http://shop.example/x", 404),
            ("http://example/x", 404),
        ):
            assert (await outside.get(url, "isolated")).status == status, url


async def test_rules_may_have_names(traffic: Traffic, outside: Outside) -> None:
    named = [f"name: {each}\n{rule(each, path(f'/{each}')).strip()}" for each in ("one", "two")]
    async with traffic.apply(at_gateway(*named)):
        found = await asked(outside, ("/one", "/two", "/three"))
        assert [taken(each) for each in found] == ["one", "two", "404"]


async def test_one_backend_is_changed_redirects_or_is_copied(traffic: Traffic, outside: Outside) -> None:
    new = "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}"
    filters = {
        "rewrite": f"{{type: URLRewrite, urlRewrite: {new}}}",
        "redirect": f"{{type: RequestRedirect, requestRedirect: {new}}}",
        "copy": mirror("store"),
    }
    rules = [
        f"matches: [{{path: {{type: PathPrefix, value: /{name}}}}}]\n"
        f"backendRefs: [{to('api-v1')}, {to('api-v2', more=f'filters: [{said}]')}]"
        for name, said in filters.items()
    ]
    async with traffic.apply(subset("v1") + subset("v2") + at_gateway(*rules)):
        rewritten = await asked(outside, ["/rewrite/x"] * 40)
        assert {(each.json["labels"]["version"], each.json["path"]) for each in rewritten} == {
            ("v1", "/rewrite/x"),
            ("v2", "/new/x"),
        }
        port = outside.ports["http"]
        redirected = await asked(outside, ["/redirect/x"] * 40)
        assert {(each.status, each.headers.get("location")) for each in redirected} == {
            (200, None),
            (302, f"http://shop.example:{port}/new/x"),
        }
        of_v2 = shares(await asked(outside, ["/copy"] * 40), "version")["v2"]
        assert await copies(traffic, "store", of_v2) == of_v2


async def test_sessions_that_last_by_header_and_through_a_split(traffic: Traffic, outside: Outside) -> None:
    async def stays(first: Answer, headers: dict[str, str]) -> bool:
        again = [await outside.get("http://shop.example/", headers=headers) for _ in range(12)]
        return {each.workload for each in again} == {first.workload}

    lasting = "sessionPersistence: {sessionName: kept, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}"
    by_header = "sessionPersistence: {sessionName: x-kept, type: Header}"
    split = f"sessionPersistence: {{sessionName: kept}}\nbackendRefs: [{to('api-v1', 9)}, {to('api-v2', 1)}]"
    async with traffic.apply(at_gateway(f"{lasting}\n{API}")) as file:
        first = await outside.get("http://shop.example/")
        assert cookies(first)["kept"]["max-age"] == "3600"
        assert await stays(first, sent(first))
        await file.replace(at_gateway(f"{by_header}\n{API}"))
        first = await outside.get("http://shop.example/")
        assert await stays(first, {"x-kept": first.headers["x-kept"]})
        await file.replace(subset("v1") + subset("v2") + at_gateway(split))
        begun = await asked(outside, ["/"] * 200)
        first = next(each for each in begun if each.json["labels"]["version"] == "v2")
        assert await stays(first, sent(first))
