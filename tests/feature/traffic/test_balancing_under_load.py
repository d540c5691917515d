"""Limits, checks, ejections and balancing come, change and go under load, and no request is lost."""

from __future__ import annotations

from tests.support.traffic.world import Traffic

TARGET = "targetRefs: [{kind: Service, name: api}]"
CHANGES = (
    ("LoadBalancing", "algorithm: roundRobin"),
    ("LoadBalancing", "algorithm: maglev, hash: [{header: x-user}]"),
    ("LoadBalancing", "locality: {mode: failover}"),
    ("LoadBalancing", "locality: {mode: strict, within: region}, panicThreshold: 20"),
    ("LoadBalancing", "locality: {mode: zoneAware}, slowStart: {window: 1s}"),
    ("HealthCheck", "interval: 100ms, http: {path: /healthz}"),
    ("OutlierDetection", "consecutive5xx: 3"),
    ("CircuitBreaker", "requests: 1000, connections: 500"),
)


async def test_no_request_is_lost(traffic: Traffic) -> None:
    async with traffic.load("http://api.mesh/", rate=300) as load:
        await load.more(60)
        for kind, spec in CHANGES:
            document = (
                f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\n"
                f"spec: {{{TARGET}, {spec}}}\n"
            )
            async with traffic.apply(document):
                await load.more(60)
        await load.more(60)
    report = load.report
    assert report.statuses == {200: report.sent}, report
    assert report.errors == 0
