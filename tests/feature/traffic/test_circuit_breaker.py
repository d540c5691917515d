"""CircuitBreaker: what is beyond a limit fails at once, and the servers never see it."""

from __future__ import annotations

import asyncio

from policies.circuit_breaker import EXAMPLE
from tests.support.traffic.client import statuses
from tests.support.traffic.world import Traffic

SLOW = {"x-behave": "delay=300ms"}
OTHER = "http://other.other.mesh/"


def policy(spec: str, target: str = "{kind: Service, name: api}", name: str = "limits") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: CircuitBreaker
metadata: {{name: {name}}}
spec:
  targetRefs: [{target}]
  {spec}
"""


async def test_the_example_changes_nothing_below_its_limits(traffic: Traffic) -> None:
    async with traffic.apply(EXAMPLE):
        assert statuses(await traffic.many(20, "http://api.mesh/")) == {200: 20}


async def test_requests_at_once_are_limited_for_each_caller_by_itself(traffic: Traffic) -> None:
    async with traffic.apply(policy("requests: 3")):
        web, probe = await asyncio.gather(
            traffic.many(10, "http://api.mesh/", headers=SLOW),
            traffic.many(3, "http://api.mesh/", headers=SLOW, caller="probe"),
        )
        assert statuses(web) == {200: 3, 503: 7}
        assert {each.headers.get("x-envoy-overloaded") for each in web if each.status == 503} == {"true"}
        assert statuses(probe) == {200: 3}
        assert len(traffic.seen("api")) == 6
        assert statuses(await traffic.many(10, "http://api.mesh/", concurrency=1)) == {200: 10}
    assert statuses(await traffic.many(10, "http://api.mesh/", headers=SLOW)) == {200: 10}


async def test_requests_wait_for_a_connection_up_to_a_limit(traffic: Traffic) -> None:
    target = "{kind: Service, name: other, namespace: other}"
    async with traffic.apply(policy("connections: 1\n  pendingRequests: 2", target)):
        await traffic.get(OTHER)  # while a connection is opened, its request waits too
        answers = await traffic.many(8, OTHER, headers=SLOW)
        assert statuses(answers) == {200: 3, 503: 5}
        assert traffic.servers["other-1"].most_in_progress == 1, "one after the other"


async def test_retries_at_once_are_limited(traffic: Traffic) -> None:
    retry = """
---
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: r}
spec:
  targetRefs: [{kind: Service, name: api}]
  attempts: 2
  on: [5xx]
"""
    failing = {"x-behave": "fail-first=1"}
    async with traffic.apply(policy("retries: 100") + retry) as file:
        assert (await traffic.get("http://api.mesh/", headers=failing)).status == 200
        await file.replace(policy("retries: 0") + retry)
        assert (await traffic.get("http://api.mesh/", headers=failing)).status == 503


async def test_what_is_important_has_limits_of_its_own(traffic: Traffic) -> None:
    route = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: important}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /important}}]
    backendRefs: [{name: api, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rest}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
---"""
    high = policy("priority: high", "{kind: HTTPRoute, name: important}", "high")
    async with traffic.apply(policy("requests: 1\n  high: {requests: 4}") + route + high):
        rest, important = await asyncio.gather(
            traffic.many(6, "http://api.mesh/", headers=SLOW),
            traffic.many(6, "http://api.mesh/important", headers=SLOW),
        )
        assert statuses(rest) == {200: 1, 503: 5}
        assert statuses(important) == {200: 4, 503: 2}


async def test_tcp_connections_are_limited(traffic: Traffic) -> None:
    rules = policy("connections: 1", "{kind: Service, name: tcp}")
    async with traffic.apply(rules), traffic.tcp("tcp/greet") as first, traffic.tcp("tcp/greet") as second:
        greetings = await asyncio.gather(first.read(), second.read(), return_exceptions=True)
        heard = [each for each in greetings if isinstance(each, str) and each.startswith("hello")]
        assert len(heard) == 1, greetings
