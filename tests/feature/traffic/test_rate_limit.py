"""RateLimit with buckets of each sidecar: who is limited, who is not, and what the refused are told."""

from __future__ import annotations

import time

import grpc

from policies.rate_limit import EXAMPLE
from tests.support.processes import eventually
from tests.support.traffic.client import Answer, statuses
from tests.support.traffic.draining import applied_to_all
from tests.support.traffic.world import Traffic

OTHER = "http://other.other.mesh/"
"""A service of one workload, so that there is one bucket."""


def limit(
    spec: str, name: str = "limit", target: str = "kind: Service, name: other, namespace: other"
) -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: RateLimit
metadata: {{name: {name}}}
spec:
  targetRefs: [{{{target}}}]
  {spec}
"""


async def passed(traffic: Traffic, n: int = 8, path: str = "", **options: object) -> int:
    """Of `n` requests, one after another; the others were refused."""
    answers: list[Answer] = [await traffic.get(OTHER + path, **options) for _ in range(n)]  # type: ignore[arg-type]
    assert set(statuses(answers)) <= {200, 429}, statuses(answers)
    return statuses(answers)[200]


async def test_what_is_beyond_is_refused_with_words_and_headers(traffic: Traffic) -> None:
    async with traffic.apply(limit("local: {requests: 3, unit: hour}")):
        first = await traffic.get(OTHER)
        assert (first.status, first.headers["x-ratelimit-remaining"]) == (200, "2")
        assert await passed(traffic, 7) == 2
        refused = await traffic.get(OTHER)
        assert (refused.status, refused.headers["x-ratelimit-limit"]) == (429, "3")
        assert refused.text.startswith("too many requests: a RateLimit")
        assert len(traffic.seen("other")) == 3
    assert await passed(traffic) == 8
    assert "x-ratelimit-limit" not in (await traffic.get(OTHER)).headers


async def test_a_burst_and_then_steadily(traffic: Traffic) -> None:
    async with traffic.apply(limit("local: {requests: 120, unit: minute, burst: 40}")):
        began = time.monotonic()
        answers = await traffic.many(100, OTHER, concurrency=8)
        took = time.monotonic() - began
        assert 40 <= statuses(answers)[200] <= 41 + 2 * took

        async def one_more() -> bool:
            return (await traffic.get(OTHER)).status == 200

        await eventually(one_more, "half a second brings one request")


async def test_requests_of_one_kind_only(traffic: Traffic) -> None:
    match = (
        'match: {path: {prefix: /dear}, methods: [GET], headers: [{name: x-plan, value: "free"}]}\n'
        "  local: {requests: 2, unit: hour}"
    )
    free = {"x-plan": "free"}
    async with traffic.apply(limit(match)):
        assert await passed(traffic, path="dearest", headers=free) == 8
        assert await passed(traffic, path="dear", headers=free, method="POST") == 8
        assert await passed(traffic, path="dear") == 8
        untouched = await traffic.get(OTHER)
        assert "x-ratelimit-limit" not in untouched.headers
        paths = ("dear", "dear?q=1", "dear/one")
        answers = [await traffic.get(OTHER + each, headers=free) for each in paths]
        assert [each.status for each in answers] == [200, 200, 429]


async def test_each_caller_has_a_limit_of_its_own(traffic: Traffic) -> None:
    async with traffic.apply(limit("by: caller\n  local: {requests: 3, unit: hour}")):
        assert await passed(traffic) == 3
        assert await passed(traffic, caller="probe") == 3


async def test_only_some_callers_are_limited(traffic: Traffic) -> None:
    refs = "from: [{service: probe, namespace: default}]\n  local: {requests: 2, unit: hour}"
    async with traffic.apply(limit(refs)):
        assert await passed(traffic, caller="probe") == 2
        assert await passed(traffic) == 8
    async with traffic.apply(limit(refs.replace("service: probe, ", ""))):
        assert (await passed(traffic, caller="probe"), await passed(traffic)) == (2, 0), "a whole namespace"
    async with traffic.apply(limit(refs.replace("probe", "nobody"))):
        assert await passed(traffic) == 8


async def test_each_value_of_a_header_and_none_at_all(traffic: Traffic) -> None:
    async with traffic.apply(limit("byHeader: x-user\n  local: {requests: 2, unit: hour}")):
        assert await passed(traffic, headers={"x-user": "ann"}) == 2
        assert await passed(traffic, headers={"x-user": "bob"}) == 2
        assert await passed(traffic) == 2, "leaving the header out is no way around"


async def test_several_limits_hold_together(traffic: Traffic) -> None:
    wide = limit("local: {requests: 5, unit: hour}", "wide", "kind: Mesh")
    narrow = limit("match: {path: {exact: /narrow}}\n  local: {requests: 2, unit: hour}", "narrow")
    async with traffic.apply(f"{wide}---{narrow}"):
        assert await passed(traffic, path="narrow") == 2
        assert 2 <= await passed(traffic) <= 3


async def test_a_grpc_caller_is_told_in_its_own_way(traffic: Traffic) -> None:
    async with traffic.apply(
        limit("local: {requests: 1, unit: hour}", target="kind: Service, name: grpc, namespace: default")
    ):
        codes = [(await traffic.grpc("grpc.mesh")).code for _ in range(6)]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_limit_over_all_sidecars(traffic: Traffic) -> None:
    """Counted in the memory of the control plane."""
    spec = "by: caller\n  global: {requests: 5, unit: hour, timeout: 1s}"
    async with applied_to_all(traffic, limit(spec, target="kind: Service, name: api, namespace: default")):
        answers = [await traffic.get("http://api.mesh/") for _ in range(12)]
        assert statuses(answers) == {200: 5, 429: 7}
        assert len({each.workload for each in answers if each.status == 200}) > 1
        assert answers[0].headers["x-ratelimit-limit"].startswith("5")
        assert answers[-1].text.startswith("too many requests")
        assert (await traffic.get("http://api.mesh/", caller="probe")).status == 200


async def test_the_example(traffic: Traffic) -> None:
    async with applied_to_all(traffic, EXAMPLE):
        assert statuses(await traffic.many(20, "http://api.mesh/search")) == {200: 20}
