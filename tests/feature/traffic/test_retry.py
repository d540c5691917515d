"""RetryPolicy: which failures are tried again, how often, where, when, and how much of the load that may add. Counted at the servers."""

from __future__ import annotations

import itertools

import pytest

from tests.support.traffic.client import Answer, statuses
from tests.support.traffic.routes import route, to
from tests.support.traffic.world import Traffic


def policy(spec: str, target: str = "{kind: Service, name: api}", name: str = "r") -> str:
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{target}], {spec}}}
"""


async def ask(traffic: Traffic, behave: str, **more: str) -> tuple[Answer, int]:
    """The answer, and how many tries it took."""
    before = len(traffic.seen("api"))
    headers = {"x-behave": behave, "x-request-id": f"{behave} {before}", **more}
    answer = await traffic.get("http://api.mesh/", headers=headers)
    return answer, len(traffic.seen("api")) - before


QUICK = "backoff: {base: 1ms}"


async def test_so_many_attempts_and_no_more(traffic: Traffic) -> None:
    async with traffic.apply(policy(f"attempts: 3, on: [5xx], {QUICK}")) as file:
        for failures, expected, tries in ((0, 200, 1), (1, 200, 2), (3, 200, 4), (9, 503, 4)):
            answer, seen = await ask(traffic, f"fail-first={failures}" if failures else "status=200")
            assert (answer.status, seen) == (expected, tries)
        await file.replace(policy(f"attempts: 0, on: [5xx], {QUICK}"))
        answer, seen = await ask(traffic, "fail-first=1")
        assert (answer.status, seen) == (503, 1)
        await file.replace(policy(f"on: [5xx], {QUICK}"))
        answer, seen = await ask(traffic, "status=500")
        assert (answer.status, seen) == (500, 3)
    answer, seen = await ask(traffic, "fail-first=1")
    assert (answer.status, seen) == (503, 1), "what the application answered is not tried again by default"


CONDITIONS = [
    ("on: [5xx]", {500: True, 502: True, 404: False, 429: False}),
    ("on: [gateway-error]", {500: False, 502: True, 503: True, 504: True}),
    ("on: [retriable-4xx]", {409: True, 404: False, 500: False}),
    ("codes: [418, 500]", {418: True, 500: True, 503: False}),
    ("on: [gateway-error], codes: [404]", {404: True, 502: True, 500: False}),
    ("on: [connect-failure]", {503: False}),
]


@pytest.mark.parametrize(("said", "expected"), CONDITIONS, ids=[said for said, _ in CONDITIONS])
async def test_conditions_and_codes(traffic: Traffic, said: str, expected: dict[int, bool]) -> None:
    async with traffic.apply(policy(f"attempts: 2, {said}, {QUICK}")):
        for status, again in expected.items():
            answer, seen = await ask(traffic, f"fail-first=1;status={status}")
            assert (answer.status, seen) == ((200, 2) if again else (status, 1)), status


async def test_a_broken_connection_to_the_application_is_a_reset(traffic: Traffic) -> None:
    answer, seen = await ask(traffic, "fail-first=1;reset")
    assert (answer.status, seen) == (503, 1), (
        "it may have been processed: not tried again unless somebody says so"
    )
    async with traffic.apply(policy(f"attempts: 2, on: [reset], {QUICK}")):
        answer, seen = await ask(traffic, "fail-first=2;reset")
        assert (answer.status, seen) == (200, 3)
        answer, seen = await ask(traffic, "fail-first=1;status=503")
        assert (answer.status, seen) == (503, 1), "its own answers are something else"


async def test_an_application_that_does_not_listen_is_tried_elsewhere_by_default(traffic: Traffic) -> None:
    """No byte of the request has reached it."""
    async with traffic.without_app("api-1"):
        assert statuses(await traffic.many(40, "http://api.mesh/", method="POST", body=b"x")) == {200: 40}
        async with traffic.apply(policy("attempts: 0")):
            assert statuses(await traffic.many(40, "http://api.mesh/"))[503] > 0


async def test_each_try_may_take_so_long(traffic: Traffic) -> None:
    async with traffic.apply(policy(f"attempts: 3, on: [reset], perTryTimeout: 100ms, {QUICK}")):
        for name in ("api-1", "api-2", "api-3"):
            traffic.servers[name].behave("delay=1s")
        answer = await traffic.get("http://api.mesh/")
        assert (answer.workload, answer.seconds < 0.9) == ("api-4", True)
        traffic.servers["api-4"].behave("delay=1s")
        answer = await traffic.get("http://api.mesh/")
        assert (answer.status, 0.3 < answer.seconds < 0.9) == (504, True)


async def test_another_host_is_tried(traffic: Traffic) -> None:
    async with traffic.apply(policy(f"attempts: 3, on: [5xx], {QUICK}")) as file:
        for _ in range(5):
            before = len(traffic.seen("api"))
            await ask(traffic, "status=503")
            assert len({each.workload for each in traffic.seen("api")[before:]}) == 4
        await file.replace(policy(f"attempts: 3, on: [5xx], otherHost: false, {QUICK}"))
        repeated = 0
        for _ in range(20):
            before = len(traffic.seen("api"))
            await ask(traffic, "status=503")
            repeated += len({each.workload for each in traffic.seen("api")[before:]}) < 4
        assert repeated


async def test_pauses(traffic: Traffic) -> None:
    async with traffic.apply(policy("attempts: 6, on: [5xx], backoff: {base: 50ms, max: 60ms}")):
        answer, seen = await ask(traffic, "status=503")
    assert (answer.status, seen) == (503, 7)
    moments = [each.at for each in traffic.seen("api")]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert max(pauses) < 0.2, pauses
    assert sum(pauses) > 0.03, pauses


async def test_the_pause_that_the_callee_asks_for(traffic: Traffic) -> None:
    async with traffic.apply(policy("attempts: 1, retryAfter: {max: 5s}, backoff: {base: 1ms}")) as file:
        answer, seen = await ask(traffic, "fail-first=1;status=429;header=retry-after:1")
        assert (answer.status, seen) == (200, 2)
        assert 0.95 < answer.seconds < 3.0, "up to one and a half times as long, so that not all come at once"
        answer, seen = await ask(traffic, "fail-first=1;status=503")
        assert (answer.status, seen, answer.seconds < 0.5) == (200, 2, True)
        answer, seen = await ask(traffic, "fail-first=1;status=202;header=retry-after:1")
        assert (answer.status, seen) == (202, 1), "a success is not tried again"
        await file.replace(policy("attempts: 1, retryAfter: {max: 500ms}, backoff: {base: 1ms}"))
        answer, seen = await ask(traffic, "fail-first=1;status=429;header=retry-after:30")
        assert (answer.status, seen, answer.seconds < 0.9) == (200, 2, True)


async def test_a_budget_is_respected_under_load(traffic: Traffic) -> None:
    """Every try fails: without a budget each of 300 requests would be tried 4 times."""
    for name in ("api-1", "api-2", "api-3", "api-4"):
        traffic.servers[name].behave("status=503;delay=20ms")
    said = f"attempts: 3, on: [5xx], {QUICK}"
    async with traffic.apply(policy(said)) as file:
        await traffic.many(300, "http://api.mesh/", concurrency=30)
        assert len(traffic.seen("api")) == 1200
        await file.replace(policy(f"{said}, budget: {{percent: 20, minPerSecond: 1}}"))
        traffic.world.reset()
        for name in ("api-1", "api-2", "api-3", "api-4"):
            traffic.servers[name].behave("status=503;delay=20ms")
        await traffic.many(300, "http://api.mesh/", concurrency=30)
        retries = len(traffic.seen("api")) - 300
        # A fifth of what is in flight may be retries: of 30 requests, about 6 at once.
        assert 0 < retries < 150, retries
        overflow = await traffic.envoy("web").stats(r"^cluster\.default/api_80\.upstream_rq_retry_overflow$")
        assert sum(overflow.values()) > 0


async def test_the_nearest_policy_wins_field_by_field(traffic: Traffic) -> None:
    mesh = policy(f"attempts: 1, on: [5xx], {QUICK}", "{kind: Mesh}", "mesh")
    async with traffic.apply(mesh) as file:
        assert (await ask(traffic, "status=500"))[1] == 2
        await file.replace(mesh + policy("attempts: 3"))
        assert (await ask(traffic, "status=500"))[1] == 4
        of_route = route(f"retry: {{attempts: 2, codes: [500]}}\nbackendRefs: [{to('api')}]")
        await file.replace(mesh + policy("attempts: 3") + of_route)
        assert (await ask(traffic, "status=500"))[1] == 3, "fields inside a route are the nearest"
        await file.replace(
            mesh.replace("attempts: 1", "enforced: true, attempts: 1") + policy("attempts: 3") + of_route
        )
        assert (await ask(traffic, "status=500"))[1] == 2


async def test_for_some_callers_only(traffic: Traffic) -> None:
    async with traffic.apply(policy(f"from: [{{workload: web-1}}], attempts: 3, on: [5xx], {QUICK}")):
        for caller, tries in (("web", 4), ("probe", 1)):
            before = len(traffic.seen("api"))
            await traffic.get("http://api.mesh/", headers={"x-behave": "status=503"}, caller=caller)
            assert len(traffic.seen("api")) - before == tries, caller


async def test_grpc_statuses(traffic: Traffic) -> None:
    target = "{kind: Service, name: grpc}"
    async with traffic.apply(policy(f"attempts: 2, on: [unavailable, resource-exhausted], {QUICK}", target)):
        for status, ok in ((14, True), (8, True), (13, False)):
            metadata = {"x-behave": f"fail-first=1;status={status}", "x-request-id": f"{status}"}
            assert (await traffic.grpc("grpc.mesh", metadata=metadata)).ok is ok, status
