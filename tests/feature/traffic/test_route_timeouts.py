"""HTTPRoute: timeouts and retries of a rule."""

from __future__ import annotations

import pytest

from tests.support.traffic.routes import route, to
from tests.support.traffic.world import Traffic


def api(said: str, path: str = "/") -> str:
    return f"matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n{said}\nbackendRefs: [{to('api')}]"


async def test_the_whole_request_may_take_so_long(traffic: Traffic) -> None:
    document = route(
        api("timeouts: {request: 200ms}", "/quick"), api("timeouts: {request: 0s}", "/any"), api("")
    )
    slow = {"x-behave": "delay=500ms"}
    async with traffic.apply(document):
        answer = await traffic.get("http://api.mesh/quick", headers=slow)
        assert (answer.status, 0.15 < answer.seconds < 0.45) == (504, True), answer
        assert (await traffic.get("http://api.mesh/any", headers=slow)).status == 200
        assert (await traffic.get("http://api.mesh/other", headers=slow)).status == 200
        assert (await traffic.get("http://api.mesh/quick")).status == 200


async def test_a_try_may_take_so_long_and_then_there_is_another(traffic: Traffic) -> None:
    said = "timeouts: {request: 2s, backendRequest: 100ms}\nretry: {attempts: 2, backoff: 1ms}"
    async with traffic.apply(route(api(said))):
        traffic.servers["api-1"].behave("delay=600ms")
        traffic.servers["api-2"].behave("delay=600ms")
        for _ in range(8):
            answer = await traffic.get("http://api.mesh/")
            assert (answer.status, answer.workload in {"api-3", "api-4"}) == (200, True)
            assert answer.seconds < 0.5
        for name in ("api-3", "api-4"):
            traffic.servers[name].behave("delay=600ms")
        answer = await traffic.get("http://api.mesh/")
        assert (answer.status, 0.25 < answer.seconds < 0.9) == (504, True), answer


@pytest.mark.parametrize(
    "said", ["timeouts: {backendRequest: 100ms}", "timeouts: {request: 1s, backendRequest: 100ms}"]
)
async def test_a_try_alone(traffic: Traffic, said: str) -> None:
    async with traffic.apply(route(api(said))):
        answer = await traffic.get("http://api.mesh/", headers={"x-behave": "delay=600ms"})
        assert (answer.status, answer.seconds < 0.5) == (504, True), answer


async def test_codes_are_tried_again_as_often_as_it_says(traffic: Traffic) -> None:
    async with traffic.apply(route(api("retry: {codes: [503, 418], attempts: 3, backoff: 1ms}"))):
        for behave, expected, tries in [
            ("fail-first=2", 200, 3),
            ("fail-first=2;status=418", 200, 3),
            ("fail-first=9", 503, 4),
            ("fail-first=1;status=502", 502, 1),
            ("fail-first=1;status=404", 404, 1),
            ("status=200", 200, 1),
        ]:
            before = len(traffic.seen("api"))
            headers = {"x-behave": behave, "x-request-id": behave}
            answer = await traffic.get("http://api.mesh/", headers=headers)
            assert (answer.status, len(traffic.seen("api")) - before) == (expected, tries), behave


async def test_a_broken_connection_is_tried_again_elsewhere(traffic: Traffic) -> None:
    async with traffic.apply(route(api("retry: {attempts: 2, backoff: 1ms}"))):
        headers = {"x-behave": "fail-first=2;reset", "x-request-id": "r"}
        answer = await traffic.get("http://api.mesh/", headers=headers)
        assert answer.status == 200
        assert len({each.workload for each in traffic.seen("api")}) == 3


async def test_no_retries_at_all(traffic: Traffic) -> None:
    async with traffic.apply(route(api("retry: {attempts: 0, codes: [503]}"))):
        assert (await traffic.get("http://api.mesh/", headers={"x-behave": "fail-first=1"})).status == 503
    assert len(traffic.seen("api")) == 1


async def test_pauses_grow_from_the_given_one(traffic: Traffic) -> None:
    async with traffic.apply(route(api("retry: {codes: [503], attempts: 4, backoff: 100ms}"))):
        answer = await traffic.get("http://api.mesh/", headers={"x-behave": "status=503"})
    assert (answer.status, len(traffic.seen("api"))) == (503, 5)
    # Drawn from [0, 100), [0, 300), [0, 700), [0, 1000) ms: together they are rarely below 100 ms, and never above 2.1 s.
    assert 0.05 < answer.seconds < 2.3
