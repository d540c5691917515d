"""HealthCheck: endpoints are asked over HTTP, gRPC and TCP, through mesh TLS, and who is not well gets no traffic."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from policies.health_check import EXAMPLE
from tests.support.processes import eventually
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.world import Traffic

QUICK = "interval: 50ms\n  timeout: 1s\n  unhealthyThreshold: 1\n  healthyThreshold: 1"


def policy(spec: str, service: str = "api") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: HealthCheck
metadata: {{name: checks}}
spec:
  targetRefs: [{{kind: Service, name: {service}}}]
  {QUICK}
  {spec}
"""


def unhealthy(traffic: Traffic, cluster: str, wanted: set[str]) -> Callable[[], Awaitable[bool]]:
    """Whether the members of `wanted`, and no others, fail the checks of `web`."""
    port = cluster.rsplit(":", 1)[1]
    name = {"80": "http", "7000": "echo"}[port] if "grpc" not in cluster else "grpc"

    async def question() -> bool:
        hosts = (await traffic.envoy("web").clusters())[cluster]["host_statuses"]
        failed = {
            each["address"]["socket_address"]["port_value"]
            for each in hosts
            if each["health_status"].get("failed_active_health_check")
        }
        assert failed == {traffic.member(each).sidecar_ports[name] for each in wanted}
        return True

    return question


async def test_the_example_asks_healthz(traffic: Traffic) -> None:
    async with traffic.apply(EXAMPLE):

        async def asked() -> bool:
            return len({each.workload for each in traffic.seen("api") if each.path == "/healthz"}) == 4

        await eventually(asked, "all four are asked")
        seen = traffic.seen("api")[0]
        assert seen.headers["host"] == "api.default.mesh"
        assert seen.caller in {traffic.member(each).identity for each in ("web", "probe", "dialer")}


async def test_http(traffic: Traffic) -> None:
    spec = "http: {path: /healthz, statuses: [200-299, 404], headers: {x-from: mesh}}"
    async with traffic.apply(policy(spec)):
        await eventually(unhealthy(traffic, "default/api:80", set()), "all are healthy")
        traffic.servers["api-1"].behave("status=404", "/healthz")
        traffic.servers["api-3"].behave("status=503", "/healthz")
        await eventually(unhealthy(traffic, "default/api:80", {"api-3"}), "api-3 is seen to be ill")
        assert set(shares(await traffic.many(40, "http://api.mesh/"))) == {"api-1", "api-2", "api-4"}
        assert {each.headers["x-from"] for each in traffic.seen("api") if each.path == "/healthz"} == {"mesh"}
        traffic.servers["api-3"].reset()
        await eventually(unhealthy(traffic, "default/api:80", set()), "api-3 is seen to be well")

        async def back() -> bool:
            return "api-3" in shares(await traffic.many(20, "http://api.mesh/"))

        await eventually(back, "it takes traffic again: Envoy gathers changes of health for up to a second")


async def test_an_application_that_is_away(traffic: Traffic) -> None:
    async with traffic.apply(policy("type: HTTP")), traffic.without_app("api-2"):
        await eventually(unhealthy(traffic, "default/api:80", {"api-2"}), "api-2 is seen to be away")
        assert statuses(await traffic.many(40, "http://api.mesh/")) == {200: 40}


async def test_grpc(traffic: Traffic) -> None:
    async with traffic.apply(policy("grpc: {service: shop}", "grpc")):
        await eventually(unhealthy(traffic, "default/grpc:80", set()), "both serve")
        traffic.servers["grpc-2"].healthy = False  # type: ignore[attr-defined]
        await eventually(unhealthy(traffic, "default/grpc:80", {"grpc-2"}), "grpc-2 says that it does not")
        for _ in range(10):
            assert (await traffic.grpc("grpc.mesh")).json["workload"] == "grpc-1"


async def test_tcp_by_what_is_said(traffic: Traffic) -> None:
    """The servers echo a line behind their own names: `tcp-1 ping`."""
    tcp = json.dumps({"send": b"ping\n".hex(), "receive": [b"tcp-1".hex(), b"ping".hex()]})
    async with traffic.apply(policy(f"tcp: {tcp}", "tcp")):
        await eventually(unhealthy(traffic, "default/tcp:7000", {"tcp-2"}), "tcp-2 answers something else")
        for _ in range(5):
            async with traffic.tcp("tcp/echo") as connection:
                assert (await connection.ask("hello")).startswith("tcp-1")


async def test_who_is_deregistered_is_gone_although_its_checks_pass(traffic: Traffic) -> None:
    port = traffic.member("api-1").app_ports["http"]
    service = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: leaving}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: HealthCheck
metadata: {name: leaving}
spec: {targetRefs: [{kind: Service, name: leaving}], interval: 50ms, timeout: 1s}
"""
    workload = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: leaving-1}}
spec: {{services: [leaving], address: 127.0.0.1, ports: [{{name: http, app: {port}}}]}}
"""
    async with traffic.apply(service + workload) as file:
        assert (await traffic.get("http://leaving.mesh/")).status == 200
        await file.replace(service)
        assert (await traffic.get("http://leaving.mesh/")).status == 503
