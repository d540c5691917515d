"""FaultInjection: what callers get of faults, and that servers see nothing of what was refused."""

from __future__ import annotations

import grpc

from policies.fault_injection import EXAMPLE
from tests.support.traffic.client import statuses
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic


def faults(spec: str, service: str = "api") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: FaultInjection
metadata: {{name: faults}}
spec:
  targetRefs: [{{kind: Service, name: {service}}}]
  {spec}
"""


async def test_a_share_is_refused_and_never_sent(traffic: Traffic) -> None:
    async with traffic.apply(faults("abort: {httpStatus: 418, percent: 30}")):
        answers = statuses(await traffic.many(400, "http://api.mesh/"))
        assert set(answers) == {200, 418}
        assert within(0.3, 400, answers[418]), answers
        assert len(traffic.seen("api")) == answers[200]
    assert (await traffic.get("http://api.mesh/")).status == 200


async def test_a_delay_for_requests_with_a_header_of_one_caller(traffic: Traffic) -> None:
    spec = 'from: [{service: web}]\n  headers: [{name: x-chaos, value: "yes"}]\n  delay: {fixed: 400ms}'
    async with traffic.apply(faults(spec)):
        chaos = {"x-chaos": "yes"}
        assert (await traffic.get("http://api.mesh/", headers=chaos)).seconds > 0.39
        assert (await traffic.get("http://api.mesh/", headers={"x-chaos": "no"})).seconds < 0.39
        other = await traffic.get("http://api.mesh/", headers=chaos, caller="probe")
        assert (other.status, other.seconds < 0.39) == (200, True)


async def test_answers_are_slow(traffic: Traffic) -> None:
    async with traffic.apply(faults("responseRate: {kbps: 32}")):
        answer = await traffic.get("http://api.mesh/", headers={"x-behave": "body=32768"})
        assert (answer.status, len(answer.body)) == (200, 32768)
        assert 0.7 < answer.seconds < 3


async def test_a_grpc_status(traffic: Traffic) -> None:
    async with traffic.apply(faults("abort: {grpcStatus: 8}", "grpc")):
        assert (await traffic.grpc("grpc.mesh")).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not traffic.seen("grpc")


async def test_the_example(traffic: Traffic) -> None:
    async with traffic.apply(EXAMPLE):
        assert statuses(await traffic.many(20, "http://api.mesh/")) == {200: 20}
