"""HTTPRoute: session persistence. Requests of one session stay with the server that took the first, while it is there."""

from __future__ import annotations

import contextlib
from collections import Counter
from http.cookies import SimpleCookie

from tests.support.traffic.client import Answer
from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.world import Traffic


def cookies(answer: Answer) -> SimpleCookie:
    found = SimpleCookie()
    for each in answer.headers.getall("set-cookie", []):
        found.load(each)
    return found


def sent(answer: Answer) -> dict[str, str]:
    """What a browser sends after `answer`."""
    return {"cookie": "; ".join(f"{name}={each.value}" for name, each in cookies(answer).items())}


async def visits(traffic: Traffic, headers: dict[str, str], n: int = 12) -> Counter[str]:
    return Counter(each.workload for each in await traffic.many(n, "http://api.mesh/", headers=headers))


def persistent(said: str, *backends: str) -> str:
    return route(f"sessionPersistence: {{{said}}}\nbackendRefs: [{', '.join(backends or (to('api'),))}]")


async def test_by_a_cookie(traffic: Traffic) -> None:
    async with traffic.apply(persistent("sessionName: kept, type: Cookie")):
        assert len(await visits(traffic, {}, 40)) == 4, "without a session, any will do"
        for _ in range(4):
            first = await traffic.get("http://api.mesh/")
            made = cookies(first)["kept"]
            assert (made["max-age"], made["path"]) == ("", "/"), "it ends with the browser's own session"
            assert await visits(traffic, sent(first)) == {first.workload: 12}


async def test_by_a_cookie_that_lasts(traffic: Traffic) -> None:
    said = "sessionName: kept, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}"
    async with traffic.apply(persistent(said)):
        first = await traffic.get("http://api.mesh/")
        assert cookies(first)["kept"]["max-age"] == "3600"
        assert await visits(traffic, sent(first)) == {first.workload: 12}


async def test_by_a_header(traffic: Traffic) -> None:
    async with traffic.apply(persistent("sessionName: x-kept, type: Header")):
        first = await traffic.get("http://api.mesh/")
        assert await visits(traffic, {"x-kept": first.headers["x-kept"]}) == {first.workload: 12}


async def test_without_a_name_it_still_is_kept(traffic: Traffic) -> None:
    async with traffic.apply(persistent("type: Cookie")):
        first = await traffic.get("http://api.mesh/")
        assert await visits(traffic, sent(first)) == {first.workload: 12}


async def test_through_a_split(traffic: Traffic) -> None:
    """A session that began at one version stays there, whatever its share."""
    document = subset("v1") + subset("v2") + persistent("sessionName: kept", to("api-v1", 9), to("api-v2", 1))
    async with traffic.apply(document):
        begun = await traffic.many(200, "http://api.mesh/")
        first = next(each for each in begun if each.json["labels"]["version"] == "v2")
        assert await visits(traffic, sent(first), 40) == {first.workload: 40}


async def test_a_server_that_has_gone_is_followed_by_another(traffic: Traffic) -> None:
    async with traffic.apply(persistent("sessionName: kept")):
        first = await traffic.get("http://api.mesh/")
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(traffic.without_sidecar(first.workload))
            second = await traffic.get("http://api.mesh/", headers=sent(first))
            assert (second.status, second.workload != first.workload) == (200, True)
