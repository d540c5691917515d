"""Twenty changes of routes and policies under constant load through one sidecar: no request is lost, none refused, none broken.

A thousand requests a second, which two cores bear beside fourteen sidecars and the tests' own servers; MESHWRIGHT_LOAD makes it another rate.
"""

from __future__ import annotations

import os

from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.world import Traffic

RATE = float(os.environ.get("MESHWRIGHT_LOAD", "1000"))
"""Requests a second."""
BETWEEN = 0.1
"""Seconds of load at least between two changes: each is in force, under load, for as long."""
BOTH = subset("v1") + subset("v2")


def policy(kind: str, spec: str, name: str = "p") -> str:
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: {kind}
metadata: {{name: {name}}}
spec: {{targetRefs: [{{kind: Service, name: api}}], {spec}}}
"""


def backends(*each: str) -> str:
    return f"backendRefs: [{', '.join(each)}]"


def rule(path: str, *lines: str) -> str:
    return "\n".join((f"matches: [{{path: {{type: PathPrefix, value: {path}}}}}]", *lines))


SET = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}"
ANSWER = "{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-a, value: b}]}}"
REWRITE = "{type: URLRewrite, urlRewrite: {hostname: inner.example, path: {type: ReplaceFullPath, replaceFullPath: /x}}}"
MIRROR = "{type: RequestMirror, requestMirror: {backendRef: {name: probe, port: 80}, percent: 10}}"
CORS = '{type: CORS, cors: {allowOrigins: ["https://a.test"], allowMethods: [GET]}}'
SPLIT = BOTH + route(backends(to("api-v1", 9), to("api-v2")))

CHANGES = {
    "a route": route(backends(to("api"))),
    "a split of two services": route(backends(to("api"), to("store"))),
    "other weights": route(backends(to("api", 1), to("store", 9))),
    "another service": route(backends(to("store"))),
    "subsets": SPLIT,
    "other weights of subsets": BOTH + route(backends(to("api-v1", 1), to("api-v2", 9))),
    "one subset": BOTH + route(backends(to("api-v2"))),
    "another rule before it": BOTH
    + route(rule("/", backends(to("api-v1"))), rule("/load", backends(to("api")))),
    "two routes of one service": route(rule("/", backends(to("store")))) + route(rule("/load"), name="s"),
    "headers of requests and answers": route(f"filters: [{SET}, {ANSWER}]\n{backends(to('api'))}"),
    "headers of one backend": SPLIT.replace("weight: 9}", f"weight: 9, filters: [{SET}]}}"),
    "a rewrite": route(f"filters: [{REWRITE}]\n{backends(to('api'))}"),
    "a mirror": route(f"filters: [{MIRROR}]\n{backends(to('api'))}"),
    "CORS": route(f"filters: [{CORS}]\n{backends(to('api'))}"),
    "sessions": route(f"sessionPersistence: {{sessionName: kept}}\n{backends(to('api'))}"),
    "timeouts and retries": route(
        f"timeouts: {{request: 10s, backendRequest: 5s}}\nretry: {{codes: [503], attempts: 2}}\n{backends(to('api'))}"
    ),
    "a TimeoutPolicy": policy("TimeoutPolicy", "request: 10s, idle: 5m, connect: 2s"),
    "a RetryPolicy": policy("RetryPolicy", "attempts: 3, on: [5xx], budget: {percent: 50}"),
    "an OutlierDetection": policy("OutlierDetection", "consecutive5xx: 5"),
    "a CircuitBreaker": policy("CircuitBreaker", "requests: 5000, pendingRequests: 5000"),
}


async def test_no_change_of_a_route_or_a_policy_loses_a_request(traffic: Traffic) -> None:
    assert len(CHANGES) == 20
    first, *others = CHANGES.items()
    async with traffic.load("http://api.mesh/load", rate=RATE) as load:
        await load.more(int(RATE * BETWEEN))
        async with traffic.apply(first[1]) as file:
            for name, document in others:
                await load.more(int(RATE * BETWEEN))
                assert load.failed == 0, f"before {name}"
                await file.replace(document)
            await load.more(int(RATE * BETWEEN))
        await load.more(int(RATE * BETWEEN))
    report = load.report
    assert report.failures == []
    assert (report.errors, report.statuses) == (0, {200: report.sent})
    assert {each.partition("-")[0] for each in report.workloads} == {"api", "store"}
    assert report.rate > 0.9 * RATE, (
        "the load was not what it should have been: the machine is too busy to tell"
    )
