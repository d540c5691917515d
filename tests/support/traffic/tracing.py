"""Tracers that need not be waited for."""

from __future__ import annotations

import aiohttp

from tests.support.traffic.world import Traffic


async def hurry(traffic: Traffic, *workloads: str) -> None:
    """Tracers that are made from now on send spans every 0.2 s instead of every 5 s."""
    async with aiohttp.ClientSession() as session:
        for name in workloads:
            admin = traffic.envoy(name).admin
            changed = {f"tracing.{each}.flush_interval_ms": "200" for each in ("opentelemetry", "zipkin")}
            async with session.post(
                f"http://{admin.host}:{admin.port}/runtime_modify", params=changed
            ) as answer:
                assert answer.status == 200, await answer.text()
