"""Metrics: what sidecars and the control plane show to a real Prometheus."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.feature.traffic.test_access_log import lines
from tests.support.ports import free_port
from tests.support.prometheus import prometheus
from tests.support.traffic import edge
from tests.support.traffic.world import Traffic

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{name: store, port: 80}]}]
"""


def policy(workload: str, port: int, more: str = "") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Metrics\nmetadata: {{name: {workload}}}\nspec:\n"
        f"  targetRefs: [{{kind: Workload, name: {workload}}}]\n  address: 127.0.0.1\n  port: {port}\n{more}"
    )


async def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def count(traffic: Traffic, pattern: str, *workloads: str) -> int:
    """What the sidecars say of themselves before."""
    found = [await traffic.envoy(name).stats(pattern) for name in workloads]
    return sum(sum(each.values()) for each in found)


async def test_the_numbers_of_prometheus_are_those_of_the_load(traffic: Traffic, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("web-1", "store-1", "store-2")}
    targets = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    targets["control-plane"] = f"127.0.0.1:{traffic.mesh.admin_port}"
    document = "---\n".join(policy(name, port) for name, port in ports.items())
    calls = 'envoy_cluster_upstream_rq_total{workload="web-1",envoy_cluster_name="default/store_80"}'
    taken = 'envoy_http_downstream_rq_total{service="store",envoy_http_conn_manager_prefix=~"inbound/.*"}'
    timed = 'envoy_cluster_upstream_rq_time_count{workload="web-1",envoy_cluster_name="default/store_80"}'
    failed = (
        'envoy_cluster_upstream_rq_xx{workload="web-1",envoy_cluster_name="default/store_80",'
        'envoy_response_code_class="5"}'
    )
    async with traffic.apply(document), prometheus(tmp_path, targets) as server:
        before = {
            calls: await count(traffic, r"^cluster\.default/store_80\.upstream_rq_total$", "web-1"),
            taken: await count(traffic, r"^http\.inbound/.*\.downstream_rq_total$", "store-1", "store-2"),
            failed: await count(traffic, r"^cluster\.default/store_80\.upstream_rq_5xx$", "web-1"),
        }
        traffic.servers["store-2"].behave("status=500", path="/bad")
        async with traffic.load("http://store.mesh/", rate=400, seconds=2) as load:
            report = await load.done()
        assert report.statuses == {200: report.sent}, report
        bad = await traffic.many(30, "http://store.mesh/bad")
        errors = sum(each.status == 500 for each in bad)
        assert 0 < errors < 30
        await server.up()
        await server.reaches(calls, before[calls] + report.sent + 30)
        await server.reaches(taken, before[taken] + report.sent + 30)
        await server.reaches(failed, before[failed] + errors)
        await server.reaches(f"{timed} > bool {report.sent}", 1)

        (of_web,) = await server.ask(calls)
        labels = {name: of_web[0][name] for name in ("service", "namespace", "workload")}
        assert labels == {"service": "web", "namespace": "default", "workload": "web-1"}
        workloads = {each["workload"] for each, _ in await server.ask(taken)}
        assert workloads == {"store-1", "store-2"}

        assert await server.number("meshwright_workloads") == len(traffic.world.members)
        assert await server.number('meshwright_xds_streams{protocol="delta"}') == len(traffic.world.sidecars)


async def test_one_page_is_shown_and_nothing_else(traffic: Traffic) -> None:
    port, more = free_port(), free_port()
    await traffic.get("http://store.mesh/")
    uncalled = (
        "---\napiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: uncalled}\n"
        "spec: {ports: [{name: http, port: 80, protocol: http}]}\n"
    )
    document = (
        policy("web-1", port) + "---\n" + policy("probe-1", more, "  include: [update_success$]\n") + uncalled
    )
    async with traffic.apply(document):
        status, page = await asked(port, "/metrics")
        assert status == 200
        assert (await asked(port, "/stats/prometheus"))[0] == 200
        for path in (
            "/",
            "/config_dump",
            "/stats",
            "/metrics?filter=.",
            "/stats/prometheus?all",
            "/metrics/",
            "//certs",
        ):
            assert (await asked(port, path))[0] == 404, path
        assert (await asked(port, "/quitquitquit", "POST"))[0] == 404
        assert (await asked(port, "/metrics", "POST"))[0] == 404
        assert await traffic.envoy("web").admin.ready()

        names = {line.split("{")[0] for line in page.splitlines() if line and not line.startswith("#")}
        assert "envoy_cluster_upstream_rq_total" in names
        assert not any("circuit_breakers" in each or "update_success" in each for each in names)
        assert 'envoy_cluster_name="default/uncalled_80"' not in "".join(
            line for line in page.splitlines() if "_rq_" in line
        ), "what was never called costs nothing"
        _, wider = await asked(more, "/metrics")
        assert "envoy_cluster_update_success" in wider


async def test_a_gateway_shows_its_metrics_and_writes_its_log(traffic: Traffic, tmp_path: Path) -> None:
    ports = {"http": free_port()}
    metrics, log = free_port(), tmp_path / "gateway.log"
    listeners = f"  - {{name: http, port: {ports['http']}, protocol: HTTP}}"
    text = (
        f"{edge.documents('front', listeners)}---\n{ROUTE}---\n{policy('front-1', metrics)}---\n"
        "apiVersion: meshwright.dev/v1alpha1\nkind: AccessLog\nmetadata: {name: front}\n"
        f"spec: {{targetRefs: [{{kind: Workload, name: front-1}}], file: {log}}}\n"
    )
    async with edge.gateway(traffic.world, "front", text, ports, edge.PublicAuthority()) as outside:
        answer = await outside.get("http://shop.example/items")
        assert answer.status == 200, answer
        _, page = await asked(metrics, "/metrics")
        assert 'service="front"' in page
        assert "envoy_http_downstream_rq_total" in page

        line, *_ = await lines(log, lambda each: True, 1)
    assert (line["path"], line["status"], line["cluster"]) == ("/items", 200, "default/store:80")
    assert line["callee"].endswith("/sa/front")
