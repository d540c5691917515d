"""Ports of a sidecar's listeners that another process has: Envoy refuses them and says so, and shares them with nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from envoy.bootstrap import BootstrapInput, render
from envoy.launcher import EnvoyProcess, LaunchOptions
from tests.support import binaries
from tests.support.builders import TRUST_DOMAIN, a_service, a_state, a_workload
from tests.support.envoy_ads import Ads, ads
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import application, rendered
from tests.support.ports import free_ports

API = f"spiffe://{TRUST_DOMAIN}/ns/default/sa/api"


@contextlib.asynccontextmanager
async def sidecar(folder: Path, control_plane: Ads) -> AsyncIterator[EnvoyProcess]:
    folder.mkdir()
    path = folder / "bootstrap.json"
    path.write_text(render(BootstrapInput("default/api-1", "api", "127.0.0.1", control_plane.port)))
    process = await EnvoyProcess.start(
        LaunchOptions(Path(binaries.envoy()), path, log=folder / "envoy.log", drain_time=1, concurrency=3)
    )
    try:
        await process.wait_ready(30)
        yield process
    finally:
        await process.stop()


async def test_an_envoy_that_was_killed_gets_its_ports_back(tmp_path: Path) -> None:
    """Although connections of the one before still linger."""
    app, inbound, outbound = free_ports(3)
    state = a_state(
        a_service("api"),
        a_workload("api-1", app=app, sidecar=inbound, outbound_port=outbound, meshed=True),
    )
    async with ads() as control_plane, application(app), aiohttp.ClientSession() as session:
        control_plane.publish(rendered(state, "default/api-1"), TestAuthority().secrets(API))
        async with sidecar(tmp_path / "first", control_plane) as first:
            assert await _get(session, f"http://127.0.0.1:{outbound}/") == 200
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()
        async with sidecar(tmp_path / "second", control_plane) as second:
            assert await second.refused_listeners() == ()
            assert await _get(session, f"http://127.0.0.1:{outbound}/") == 200


async def _get(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url, headers={"Host": "api.mesh"}) as answer:
        return answer.status


async def test_a_second_sidecar_of_a_workload_gets_no_part_of_its_ports(tmp_path: Path) -> None:
    app, inbound, outbound = free_ports(3)
    state = a_state(
        a_service("api"),
        a_workload("api-1", app=app, sidecar=inbound, outbound_port=outbound, meshed=True),
    )
    async with ads() as control_plane, application(app):
        control_plane.publish(rendered(state, "default/api-1"), TestAuthority().secrets(API))
        async with sidecar(tmp_path / "first", control_plane) as first:
            assert await first.refused_listeners() == ()
            async with sidecar(tmp_path / "second", control_plane) as second:
                refused = await second.refused_listeners()
                assert refused
                for reason in refused:
                    assert "Address already in use" in reason
                    assert f"inbound/{inbound}" in reason or "outbound" in reason
                assert await first.refused_listeners() == ()
                # All workers of the first serve the one socket, and every connection is the first's.
                async with aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(force_close=True, limit=0)
                ) as session:
                    url = f"http://127.0.0.1:{outbound}/"
                    assert set(await asyncio.gather(*(_get(session, url) for _ in range(200)))) == {200}
                taken = await first.admin.stats(rf"^listener\.127\.0\.0\.1_{outbound}\.worker_.*cx_total$")
                assert sum(taken.values()) == 200
                assert all(taken.values())
