"""TimeoutPolicy: how long requests and connections may take, seen by the client."""

from __future__ import annotations

from tests.support.traffic.world import Traffic

SLOW = {"x-behave": "delay=600ms"}


def policy(spec: str, target: str = "{kind: Service, name: api}") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {{name: t}}
spec:
  targetRefs: [{target}]
  {spec}
"""


async def test_a_request_that_takes_too_long_is_answered_with_504(traffic: Traffic) -> None:
    async with traffic.apply(policy("request: 200ms")):
        answer = await traffic.get("http://api.mesh/slow", headers=SLOW)
        assert answer.status == 504
        assert 0.15 <= answer.seconds < 0.55
        assert (await traffic.get("http://api.mesh/fast")).status == 200
    assert (await traffic.get("http://api.mesh/slow", headers=SLOW)).status == 200


async def test_the_nearer_target_wins_field_by_field(traffic: Traffic) -> None:
    mesh = policy("request: 200ms", "{kind: Mesh}").replace("name: t", "name: mesh")
    async with traffic.apply(mesh + "---" + policy("request: 5s")):
        assert (await traffic.get("http://api.mesh/slow", headers=SLOW)).status == 200
        assert (await traffic.get("http://store.mesh/slow", headers=SLOW)).status == 504


async def test_what_is_enforced_is_not_overridden_from_below(traffic: Traffic) -> None:
    mesh = policy("enforced: true\n  request: 200ms", "{kind: Mesh}").replace("name: t", "name: mesh")
    async with traffic.apply(mesh + "---" + policy("request: 5s")):
        assert (await traffic.get("http://api.mesh/slow", headers=SLOW)).status == 504


async def test_for_some_callers_only(traffic: Traffic) -> None:
    async with traffic.apply(policy("from: [{workload: web-1}]\n  request: 200ms")):
        assert (await traffic.get("http://api.mesh/slow", headers=SLOW)).status == 504
        answer = await traffic.get("http://api.default.mesh/slow", headers=SLOW, caller="probe")
        assert answer.status == 200
