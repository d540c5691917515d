"""Concurrency: requests at once beyond what the sidecar has found out are refused; so is a share while too many fail."""

from __future__ import annotations

from policies.concurrency import EXAMPLE
from tests.support.traffic.client import statuses
from tests.support.traffic.draining import applied_to_all
from tests.support.traffic.world import Traffic


def concurrency(spec: str) -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: Concurrency
metadata: {{name: api}}
spec:
  targetRefs: [{{kind: Workload, name: other-1, namespace: other}}]
  {spec}
"""


async def test_more_at_once_than_the_limit_is_refused(traffic: Traffic) -> None:
    """While the time without load is measured, which here takes more requests than are sent, the limit is the least one."""
    async with applied_to_all(traffic, concurrency("adaptive: {minRequests: 4, measuredRequests: 10000}")):
        answers = statuses(
            await traffic.many(
                40, "http://other.other.mesh/", headers={"x-behave": "delay=300ms"}, concurrency=40
            )
        )
        assert set(answers) == {200, 503}
        assert 4 <= answers[200] <= 12, answers
        one_by_one = await traffic.many(10, "http://other.other.mesh/", concurrency=2)
        assert statuses(one_by_one) == {200: 10}


async def test_while_too_many_fail_a_share_is_refused_at_once(traffic: Traffic) -> None:
    async with applied_to_all(traffic, concurrency("admission: {successPercent: 90, window: 5s}")):
        answers = await traffic.many(
            400, "http://other.other.mesh/", headers={"x-behave": "status=500"}, concurrency=8
        )
        refused = sum(each.status == 503 for each in answers)
        assert refused > 50, statuses(answers)
        assert len(traffic.seen("other")) == 400 - refused


async def test_the_example(traffic: Traffic) -> None:
    async with applied_to_all(traffic, EXAMPLE):
        assert statuses(await traffic.many(20, "http://api.mesh/", concurrency=2)) == {200: 20}
