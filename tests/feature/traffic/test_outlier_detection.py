"""OutlierDetection: endpoints that fail are left out, and come back."""

from __future__ import annotations

from collections import Counter

from policies.outlier_detection import EXAMPLE
from tests.support.ports import free_port
from tests.support.processes import eventually
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.world import Traffic


def policy(spec: str, target: str = "{kind: Service, name: api}") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: OutlierDetection
metadata: {{name: outliers}}
spec:
  targetRefs: [{target}]
  {spec}
"""


async def answering(traffic: Traffic, url: str, n: int = 60) -> Counter[str]:
    """Who answers `n` requests, one at a time."""
    return shares(await traffic.many(n, url, concurrency=1))


async def test_the_example_ejects_nobody_who_is_well(traffic: Traffic) -> None:
    async with traffic.apply(EXAMPLE):
        assert set(await answering(traffic, "http://api.mesh/")) == {"api-1", "api-2", "api-3", "api-4"}


async def test_an_endpoint_that_fails_is_left_out_and_returns(traffic: Traffic) -> None:
    spec = "consecutive5xx: 3\n  interval: 100ms\n  baseEjectionTime: 1s"
    async with traffic.apply(policy(spec)):
        traffic.servers["api-2"].behave("status=500")
        found = statuses(await traffic.many(60, "http://api.mesh/", concurrency=1))
        assert found == {500: 3, 200: 57}, "three failures, then no request more"
        assert len(traffic.servers["api-2"].requests) == 3
        hosts = (await traffic.envoy("web").clusters())["default/api:80"]["host_statuses"]
        assert [each["health_status"].get("failed_outlier_check", False) for each in hosts].count(True) == 1
        traffic.servers["api-2"].reset()

        async def back() -> bool:
            return "api-2" in await answering(traffic, "http://api.mesh/", 20)

        await eventually(back, "api-2 takes traffic again")


async def test_one_of_two_may_be_ejected(traffic: Traffic) -> None:
    """With Envoy's own 10 % nobody would be."""
    async with traffic.apply(policy("consecutive5xx: 2", "{kind: Service, name: store}")):
        traffic.servers["store-1"].behave("status=503")
        assert statuses(await traffic.many(30, "http://store.mesh/", concurrency=1)) == {503: 2, 200: 28}


async def test_gateway_errors_alone(traffic: Traffic) -> None:
    async with traffic.apply(policy("consecutive5xx: 0\n  consecutiveGatewayErrors: 2")):
        traffic.servers["api-1"].behave("status=500")
        traffic.servers["api-2"].behave("status=502")
        found = statuses(await traffic.many(60, "http://api.mesh/", concurrency=1))
        assert found[502] == 2
        assert found[500] > 2


async def test_an_endpoint_that_cannot_be_reached(traffic: Traffic) -> None:
    api = traffic.member("api-1")
    ports = {"there": api.app_ports["http"], "away": free_port()}
    workloads = "".join(
        f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: flaky-{name}}}
spec: {{services: [flaky], address: 127.0.0.1, ports: [{{name: http, app: {port}}}]}}
"""
        for name, port in ports.items()
    )
    service = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: flaky}
spec: {ports: [{name: http, port: 80, protocol: http}]}
"""
    spec = "consecutive5xx: 0\n  consecutiveLocalOriginFailures: 2"
    rules = policy(spec, "{kind: Service, name: flaky}")
    async with traffic.apply(service + workloads + "---" + rules):
        assert statuses(await traffic.many(40, "http://flaky.mesh/", concurrency=1)) == {200: 40}
        stats = await traffic.envoy("web").stats(r"^cluster\.default/flaky_80\.upstream_cx_connect_fail$")
        assert stats["cluster.default/flaky_80.upstream_cx_connect_fail"] == 2, stats


async def test_a_share_of_failures(traffic: Traffic) -> None:
    spec = "consecutive5xx: 0\n  interval: 300ms\n  failurePercentage: {threshold: 30, minimumHosts: 4, requestVolume: 5}"
    async with traffic.apply(policy(spec)):
        traffic.servers["api-4"].behave("status=500;fail-every=2")

        async def out() -> bool:
            await traffic.many(80, "http://api.mesh/")
            hosts = (await traffic.envoy("web").clusters())["default/api:80"]["host_statuses"]
            return bool(sum(each["health_status"].get("failed_outlier_check", False) for each in hosts) == 1)

        await eventually(out, "api-4 is ejected")
        assert set(await answering(traffic, "http://api.mesh/", 30)) == {"api-1", "api-2", "api-3"}
