"""HTTPRoute: copies of requests to other backends, counted where they arrive."""

from __future__ import annotations

from tests.support.processes import eventually
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.statistics import bounds, within
from tests.support.traffic.world import Traffic

N = 300


def mirror(service: str, share: str = "") -> str:
    said = share and f", {share}"
    return f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {service}, port: 80}}{said}}}}}"


async def copies(traffic: Traffic, service: str, at_least: int) -> int:
    """Copies are nobody's to wait for: they may come a moment after the answer."""

    async def come() -> bool:
        return len(traffic.seen(service)) >= at_least

    await eventually(come, f"{at_least} requests at {service}", patience=5)
    return len(traffic.seen(service))


async def test_every_request_is_copied_and_the_answer_is_the_backends(traffic: Traffic) -> None:
    traffic.servers["store-1"].behave("status=500")
    traffic.servers["store-2"].behave("delay=100ms")
    async with traffic.apply(route(f"filters: [{mirror('store')}]\nbackendRefs: [{to('api')}]")):
        answers = await traffic.many(40, "http://api.mesh/p?q=1", method="POST", body=b"hello")
        assert statuses(answers) == {200: 40}
        assert await copies(traffic, "store", 40) == 40
    assert all(each.json["service"] == "api" for each in answers)
    for each in traffic.seen("store"):
        assert (each.method, each.path, each.body) == ("POST", "/p?q=1", b"hello")
        assert (each.headers["host"], each.caller) == ("api.mesh", traffic.member("web").identity)


async def test_to_several(traffic: Traffic) -> None:
    filters = f"[{mirror('store')}, {mirror('probe')}]"
    async with traffic.apply(route(f"filters: {filters}\nbackendRefs: [{to('api')}]")):
        await traffic.many(20, "http://api.mesh/")
        assert await copies(traffic, "store", 20) == await copies(traffic, "probe", 20) == 20


async def test_a_share_of_them(traffic: Traffic) -> None:
    filters = (
        f"[{mirror('store', 'percent: 20')}, {mirror('probe', 'fraction: {numerator: 1, denominator: 3}')}]"
    )
    async with traffic.apply(route(f"filters: {filters}\nbackendRefs: [{to('api')}]")):
        assert statuses(await traffic.many(N, "http://api.mesh/")) == {200: N}
        assert within(0.2, N, await copies(traffic, "store", bounds(0.2, N)[0]))
        assert within(1 / 3, N, await copies(traffic, "probe", bounds(1 / 3, N)[0]))


async def test_of_one_backend(traffic: Traffic) -> None:
    of_v2 = to("api-v2", more=f"filters: [{mirror('store')}]")
    async with traffic.apply(subset("v1") + subset("v2") + route(f"backendRefs: [{to('api-v1')}, {of_v2}]")):
        found = shares(await traffic.many(60, "http://api.mesh/"), "version")
        assert set(found) == {"v1", "v2"}
        assert await copies(traffic, "store", found["v2"]) == found["v2"]


async def test_a_mirror_that_is_not_there_is_nobodys_harm(traffic: Traffic) -> None:
    async with traffic.apply(route(f"filters: [{mirror('missing')}]\nbackendRefs: [{to('api')}]")):
        assert statuses(await traffic.many(20, "http://api.mesh/")) == {200: 20}
