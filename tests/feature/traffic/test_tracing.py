"""Tracing: the traces of real requests, at a real OTLP endpoint and at one that speaks Zipkin's JSON."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import eventually
from tests.support.traffic.draining import drained
from tests.support.traffic.tracing import hurry
from tests.support.traffic.world import Traffic


def policy(spec: str, target: str = "{kind: Mesh}", name: str = "traces") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Tracing\nmetadata: {{name: {name}}}\n"
        f"spec:\n  targetRefs: [{target}]\n{spec}"
    )


@asynccontextmanager
async def zipkin() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and the spans that were sent to it."""
    spans: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        spans.extend(await request.json())
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/api/v2/spans", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name.removeprefix("http://"), spans
    finally:
        await runner.cleanup()


async def test_the_trace_of_a_request_through_three_services_arrives_whole(traffic: Traffic) -> None:
    async with OtlpReceiver() as receiver:
        document = policy(
            f"  otlp: {receiver.address}\n  sampling: 100\n"
            "  tags: {tenant: {header: x-tenant, default: none}, stage: {literal: test}}\n"
        )
        await hurry(traffic, *traffic.world.sidecars)
        async with traffic.apply(document):
            await drained(traffic)
            answer = await traffic.get(
                "http://api.mesh/cart?q=1", headers={"x-behave": "call=store/items", "x-tenant": "acme"}
            )
            assert answer.status == 200, answer
            assert answer.json["called"]["path"] == "/items"
            trace = await receiver.trace(4, tenant="acme")

    assert [(each.service, each.kind, each.name) for each in trace] == [
        ("web.default", "CLIENT", "GET api.mesh"),
        ("api.default", "SERVER", "GET api"),
        ("api.default", "CLIENT", "GET store.mesh"),
        ("store.default", "SERVER", "GET store"),
    ]
    root, *others = trace
    assert root.parent == ""
    assert [each.parent for each in others] == [each.id for each in trace[:-1]]
    assert {each.trace for each in trace} == {answer.seen["traceparent"].split("-")[1]}
    assert [each.resource["service.instance.id"] for each in trace[:2]] == [
        "default/web-1",
        f"default/{answer.workload}",
    ]
    # What the application did not hand on, the next ones do not know.
    assert [each.attributes["tenant"] for each in trace] == ["acme", "acme", "none", "none"]
    assert {each.attributes["stage"] for each in trace} == {"test"}
    assert {each.attributes["http.status_code"] for each in trace} == {"200"}
    assert all(outer.seconds >= inner.seconds for outer, inner in itertools.pairwise(trace))


async def test_which_requests_are_traced(traffic: Traffic) -> None:
    async with OtlpReceiver() as receiver:
        document = policy(f"  otlp: {receiver.address}\n  sampling: 0\n  alwaysFor: [x-debug]\n")
        route = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: store}
spec:
  parentRefs: [{group: "", kind: Service, name: store}]
  rules: [{backendRefs: [{name: store, port: 80}]}]
"""
        on_route = policy("  sampling: 50\n", "{kind: HTTPRoute, name: store}", "half")
        sent = 200
        async with traffic.apply(f"{document}---\n{route}---\n{on_route}"):
            await drained(traffic)
            await traffic.many(20, "http://api.mesh/silent")
            await traffic.get("http://api.mesh/forced", headers={"x-debug": "yes"})
            joined = f"00-{'a' * 32}-{'b' * 16}-01"
            await traffic.get("http://api.mesh/joined", headers={"traceparent": joined})
            await traffic.many(sent, "http://store.mesh/half")

            def paths(end: str) -> list[str]:
                return [each.trace for each in receiver.spans if each.attributes["http.url"].endswith(end)]

            async def there() -> bool:
                assert len(paths("/forced")) == len(paths("/joined")) == 2, receiver.spans
                return len(paths("/half")) >= 2 * sent * 0.3

            await eventually(there, "the traces", patience=15)
    assert paths("/silent") == []
    assert set(paths("/joined")) == {"a" * 32}
    assert sent * 0.3 < len(set(paths("/half"))) < sent * 0.7


async def test_zipkin_and_both_ways_to_hand_on(traffic: Traffic) -> None:
    async with zipkin() as (address, spans):
        document = policy(f"  zipkin: {address}\n  sampling: 100\n")
        await hurry(traffic, "web", "store-1", "store-2")
        async with traffic.apply(document):
            await drained(traffic)
            answer = await traffic.get("http://store.mesh/zipkin")

            async def both() -> list[dict[str, Any]]:
                found = [each for each in spans if each["tags"].get("http.url", "").endswith("/zipkin")]
                assert len(found) == 2, spans
                return found

            found = {each["kind"]: each for each in await eventually(both, "two spans", patience=15)}
    client, server = found["CLIENT"], found["SERVER"]
    assert server["traceId"] == client["traceId"] == answer.seen["x-b3-traceid"]
    assert server["parentId"] == client["id"]
    assert answer.seen["traceparent"].split("-")[1] == client["traceId"]
    assert (server["name"], server["tags"]["service"]) == ("GET store", "store.default")
    assert client["tags"]["service"] == "web.default"
