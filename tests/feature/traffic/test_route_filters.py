"""HTTPRoute: redirects, rewrites, and changes of headers, as client and servers see them."""

from __future__ import annotations

import pytest

from tests.support.traffic.client import shares
from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.world import Traffic

API = f"backendRefs: [{to('api')}]"


def prefix(path: str) -> str:
    return f"matches: [{{path: {{type: PathPrefix, value: {path}}}}}]"


def redirect(path: str, said: str) -> str:
    return f"{prefix(path)}\nfilters: [{{type: RequestRedirect, requestRedirect: {{{said}}}}}]"


def rewrite(path: str, said: str) -> str:
    return f"{prefix(path)}\nfilters: [{{type: URLRewrite, urlRewrite: {{{said}}}}}]\n{API}"


REDIRECTS = [
    ("/host", "hostname: example.org", 302, "http://example.org/host/x?q=1"),
    ("/moved", "hostname: example.org, statusCode: 301", 301, "http://example.org/moved/x?q=1"),
    ("/303", "hostname: example.org, statusCode: 303", 303, "http://example.org/303/x?q=1"),
    ("/307", "hostname: example.org, statusCode: 307", 307, "http://example.org/307/x?q=1"),
    ("/308", "hostname: example.org, statusCode: 308", 308, "http://example.org/308/x?q=1"),
    ("/scheme", "scheme: https", 302, "https://api.mesh/scheme/x?q=1"),
    ("/port", "port: 8083", 302, "http://api.mesh:8083/port/x?q=1"),
    ("/both", "scheme: https, hostname: example.org, port: 8443", 302, "https://example.org:8443/both/x?q=1"),
    ("/full", "path: {type: ReplaceFullPath, replaceFullPath: /new}", 302, "http://api.mesh/new?q=1"),
    ("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}", 302, "http://api.mesh/new/x?q=1"),
]


async def test_redirects(traffic: Traffic) -> None:
    async with traffic.apply(route(*(redirect(path, said) for path, said, _, _ in REDIRECTS))):
        for path, said, status, location in REDIRECTS:
            answer = await traffic.get(f"http://api.mesh{path}/x?q=1")
            assert (answer.status, answer.headers["location"]) == (status, location), said
    assert not traffic.seen("api")


async def test_paths_and_hosts_are_rewritten(traffic: Traffic) -> None:
    document = route(
        rewrite("/strip", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
        rewrite("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"),
        rewrite("/full", "path: {type: ReplaceFullPath, replaceFullPath: /one}"),
        rewrite("/host", "hostname: inner.example"),
        rewrite("/all", "hostname: inner.example, path: {type: ReplaceFullPath, replaceFullPath: /one}"),
        API,
    )
    async with traffic.apply(document):
        for asked, path, host in [
            ("/strip/three?q=1", "/three?q=1", "api.mesh"),
            ("/strip", "/", "api.mesh"),
            ("/old/two", "/new/two", "api.mesh"),
            ("/full/two?q=1", "/one?q=1", "api.mesh"),
            ("/host/x", "/host/x", "inner.example"),
            ("/all/x", "/one", "inner.example"),
            ("/other", "/other", "api.mesh"),
        ]:
            answer = await traffic.get(f"http://api.mesh{asked}")
            assert (answer.status, answer.json["path"], answer.seen["host"]) == (200, path, host), asked


def modifier(kind: str, name: str) -> str:
    return (
        f"{{type: {kind}HeaderModifier, {kind.lower()}HeaderModifier: {{"
        f"set: [{{name: X-Set, value: {name}}}], add: [{{name: X-Add, value: {name}}}], remove: [X-Gone]}}}}"
    )


SENT = {"x-set": "mine", "x-add": "mine", "x-gone": "mine", "x-kept": "mine"}


async def test_headers_of_requests(traffic: Traffic) -> None:
    async with traffic.apply(route(f"filters: [{modifier('Request', 'ours')}]\n{API}")):
        seen = (await traffic.get("http://api.mesh/", headers=SENT)).seen
        assert (seen["x-set"], seen["x-add"], seen["x-kept"]) == ("ours", "mine,ours", "mine")
        assert "x-gone" not in seen
        seen = (await traffic.get("http://api.mesh/")).seen
        assert (seen["x-set"], seen["x-add"]) == ("ours", "ours")


async def test_headers_of_answers(traffic: Traffic) -> None:
    behave = {"x-behave": "header=x-set:mine; header=x-add:mine; header=x-gone:mine; header=x-kept:mine"}
    async with traffic.apply(route(f"filters: [{modifier('Response', 'ours')}]\n{API}")):
        got = (await traffic.get("http://api.mesh/", headers=behave)).headers
        assert (got.getall("x-set"), got.getall("x-kept")) == (["ours"], ["mine"])
        assert ",".join(got.getall("x-add")).replace(" ", "") == "mine,ours"
        assert "x-gone" not in got


@pytest.mark.parametrize("kind", ["Request", "Response"])
async def test_headers_of_one_backend(traffic: Traffic, kind: str) -> None:
    """And only of that: the subsets tell who got what."""
    of_v2 = to("api-v2", more=f"filters: [{modifier(kind, 'two')}]")
    document = subset("v1") + subset("v2") + route(f"backendRefs: [{to('api-v1')}, {of_v2}]")
    async with traffic.apply(document):
        answers = await traffic.many(60, "http://api.mesh/")
        assert set(shares(answers, "version")) == {"v1", "v2"}
        for each in answers:
            headers = each.seen if kind == "Request" else each.headers
            expected = "two" if each.json["labels"]["version"] == "v2" else None
            assert headers.get("x-set") == headers.get("x-add") == expected


async def test_filters_of_rule_and_backend_work_together(traffic: Traffic) -> None:
    backend = to("api", more=f"filters: [{modifier('Request', 'backend')}]")
    document = route(
        f"""
        filters:
        - {modifier("Request", "rule")}
        - {{type: URLRewrite, urlRewrite: {{hostname: inner.example}}}}
        - {modifier("Response", "answer")}
        backendRefs: [{backend}]
        """
    )
    async with traffic.apply(document):
        answer = await traffic.get("http://api.mesh/", headers=SENT)
    assert answer.headers["x-set"] == "answer"
    assert answer.seen["host"] == "inner.example"
    assert (answer.seen["x-set"], answer.seen["x-add"]) == ("backend", "mine,rule,backend")


async def test_a_rule_without_backends_changes_what_goes_to_its_parent(traffic: Traffic) -> None:
    async with traffic.apply(route(f"filters: [{modifier('Request', 'ours')}]")):
        answer = await traffic.get("http://api.mesh/")
    assert (answer.json["service"], answer.seen["x-set"]) == ("api", "ours")


async def test_one_backend_is_asked_for_another_path_or_redirects(traffic: Traffic) -> None:
    def of_v2(kind: str, said: str) -> str:
        field = kind[0].lower() + kind[1:] if kind == "RequestRedirect" else "urlRewrite"
        return to("api-v2", more=f"filters: [{{type: {kind}, {field}: {{{said}}}}}]")

    new = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"
    document = subset("v1") + subset("v2")
    split = f"{prefix('/old')}\nbackendRefs: [{to('api-v1')}, %s]"
    async with traffic.apply(document + route(split % of_v2("URLRewrite", new))) as file:
        answers = await traffic.many(60, "http://api.mesh/old/x")
        assert {(each.json["labels"]["version"], each.json["path"]) for each in answers} == {
            ("v1", "/old/x"),
            ("v2", "/new/x"),
        }
        await file.replace(document + route(split % of_v2("RequestRedirect", new)))
        answers = await traffic.many(60, "http://api.mesh/old/x")
        assert {(each.status, each.headers.get("location")) for each in answers} == {
            (200, None),
            (302, "http://api.mesh/new/x"),
        }
