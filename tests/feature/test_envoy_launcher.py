"""Real Envoys, started, questioned, drained and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from envoy.bootstrap import BootstrapInput, render
from envoy.errors import AdminFailed, EnvoyNotFound, EnvoyNotReady, InvalidConfiguration
from envoy.launcher import EnvoyProcess, LaunchOptions, validate
from tests.support import binaries
from tests.support.builders import TRUST_DOMAIN, a_proxy, a_service, a_state, a_workload
from tests.support.envoy_ads import ads
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import application, envoy, rendered
from tests.support.ports import free_ports
from tests.support.processes import eventually

API = f"spiffe://{TRUST_DOMAIN}/ns/default/sa/api"


def options(folder: Path, text: str, drain_time: int = 5) -> LaunchOptions:
    path = folder / "bootstrap.json"
    path.write_text(text)
    return LaunchOptions(
        Path(binaries.envoy()), path, log=folder / "envoy.log", drain_time=drain_time, concurrency=1
    )


async def test_a_sidecar_becomes_ready_by_its_bootstrap_and_shows_no_key(tmp_path: Path) -> None:
    state = a_state(a_service("api"), a_proxy("api-1", sidecar=free_ports(1)[0], uses=[]))
    authority = TestAuthority()
    async with ads() as control_plane:
        given = BootstrapInput("default/api-1", "api", "127.0.0.1", control_plane.port)
        process = await EnvoyProcess.start(options(tmp_path, render(given)))
        try:
            with pytest.raises(EnvoyNotReady, match=r"(?s)PRE_INITIALIZING.*control plane"):
                await process.wait_ready(0.7)
            control_plane.publish(rendered(state, "default/api-1"), authority.secrets(API))
            await process.wait_ready(30)
            dump = str(await process.admin.config_dump(endpoints=True))
            assert "inbound/9001/http" in dump
            assert "PRIVATE KEY" not in dump
            assert await process.admin.state() == "LIVE"
            found = await process.admin.clusters()
            assert {each["name"] for each in found["cluster_statuses"]} >= {
                "control-plane",
                "inbound/9001/http",
            }
        finally:
            await process.stop()
    assert process.returncode == 0
    with pytest.raises(AdminFailed, match="Is Envoy running"):
        await process.admin.ready()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_zone_aware_routing_knows_its_own_service_from_the_bootstrap(tmp_path: Path) -> None:
    state = a_state(a_service("api"), a_proxy("api-1", sidecar=free_ports(1)[0]))
    async with ads() as control_plane:
        given = BootstrapInput(
            "default/api-1", "api", "127.0.0.1", control_plane.port, local_service="default/api:80"
        )
        control_plane.publish(rendered(state, "default/api-1"), TestAuthority().secrets(API))
        process = await EnvoyProcess.start(options(tmp_path, render(given)))
        try:
            await process.wait_ready(30)
            assert (await process.admin.stats(r"^cluster\.local\.membership_total$")).popitem()[1] == 1
        finally:
            await process.stop()


async def test_an_envoy_that_ends_at_once_says_why(tmp_path: Path) -> None:
    process = await EnvoyProcess.start(options(tmp_path, '{"static_resources": {"nonsense": 1}}'))
    with pytest.raises(EnvoyNotReady, match=r"(?s)ended with code 1.*nonsense"):
        await process.wait_ready(30)
    await process.stop()


async def test_envoy_sees_what_it_needs_of_the_environment_and_what_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHWRIGHT_TOKEN", "a secret")
    monkeypatch.setenv("DATABASE_PASSWORD", "another")
    monkeypatch.setenv("STAGE", "production")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/roots.pem")
    given = BootstrapInput("default/api-1", "api", "127.0.0.1", free_ports(1)[0])
    started = replace(options(tmp_path, render(given)), environment=("STAGE", "NOT_THERE"))
    process = await EnvoyProcess.start(started)
    try:

        async def runs() -> str:
            return process.admin_address

        await eventually(runs, "what was started has become Envoy")
        seen = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    finally:
        await process.stop()
    assert {b"STAGE=production", b"SSL_CERT_FILE=/etc/roots.pem", b"PATH=" + os.environb[b"PATH"]} <= set(
        seen
    )
    assert not [each for each in seen if b"secret" in each or b"another" in each]


async def test_a_program_that_is_none_is_named(tmp_path: Path) -> None:
    given = LaunchOptions(tmp_path / "none", tmp_path / "b.json")
    with pytest.raises(EnvoyNotFound, match="none cannot be started"):
        await EnvoyProcess.start(given)


async def test_a_program_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    binary = tmp_path / "envoy"
    binary.write_bytes(b"\x7fELF of another machine")
    binary.chmod(0o755)
    process = await EnvoyProcess.start(LaunchOptions(binary, tmp_path / "b.json", log=tmp_path / "envoy.log"))
    with pytest.raises(EnvoyNotReady, match=r"(?s)code 126.*envoy cannot be started: .*Exec format error"):
        await process.wait_ready(30)


OWNER = """
import asyncio, pathlib, sys
from envoy.launcher import EnvoyProcess, LaunchOptions

async def main():
    binary, bootstrap = map(pathlib.Path, sys.argv[1:])
    process = await EnvoyProcess.start(LaunchOptions(binary, bootstrap, log=bootstrap.with_suffix(".log"), concurrency=1))
    await process.wait_ready(30)
    print(process.pid, process.admin_address, flush=True)
    await process.wait()

asyncio.run(main())
"""


async def test_envoy_ends_with_its_owner_and_leaves_its_ports(tmp_path: Path) -> None:
    """An owner that is killed can do nothing any more: the next Envoy finds the admin port free."""
    (port,) = free_ports(1)
    bootstrap = tmp_path / "bootstrap.json"
    listening = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    bootstrap.write_text(json.dumps({"admin": {"address": listening}}))
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(binaries.envoy()), str(bootstrap)), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    try:
        pid, address = (await owner.stdout.readline()).decode().split()
        assert address == f"127.0.0.1:{port}"
        of_envoy = Path("/proc", pid)
        # It is Envoy itself, with the signals that a program starts with, and without core files.
        assert (
            (of_envoy / "cmdline")
            .read_bytes()
            .startswith(str(binaries.envoy()).encode() + b"\0--config-path")
        )
        limits = (of_envoy / "limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        ignored = re.search(r"^SigIgn:\s+(\w+)$", (of_envoy / "status").read_text(), re.MULTILINE)
        assert ignored is not None
        assert not int(ignored[1], 16) & (1 << signal.SIGXFSZ - 1)
    finally:
        owner.kill()
        await owner.wait()
    try:
        async with asyncio.timeout(10):
            while of_envoy.exists():  # noqa: ASYNC110 (no child of ours: there is no event to wait for)
                await asyncio.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


async def test_draining_waits_for_a_callers_request_and_no_longer(tmp_path: Path) -> None:
    """A caller's open connection holds the drain; when it has ended, draining has."""
    outbound, app = free_ports(2)
    state = a_state(
        a_service("api"), a_workload("api-1", app=app), a_workload("web", meshed=True, outbound_port=outbound)
    )
    secrets = TestAuthority().secrets(API)
    release = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", app)
    async with (
        server,
        envoy(tmp_path, "web", rendered(state, "web"), secrets, drain_time=20) as process,
        aiohttp.ClientSession() as session,
    ):
        request = asyncio.create_task(_status(session, f"http://127.0.0.1:{outbound}/", {"Host": "api.mesh"}))
        await _until_active(process)
        draining = asyncio.create_task(process.drain())
        done, _ = await asyncio.wait({draining}, timeout=0.5)
        assert not done
        assert not request.done()
        release.set()
        assert await request == 200
        async with asyncio.timeout(5):
            await draining


async def _status(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.get(url, headers=headers) as answer:
        return answer.status


async def _until_active(process: EnvoyProcess) -> None:
    async with asyncio.timeout(10):
        while not sum((await process.admin.stats(r"^http\.outbound\.downstream_rq_active$")).values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # Envoy tells of no event to wait for


async def test_what_envoy_refuses_is_said_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text('{"static_resources": {"clusters": [{"name": ""}]}}')
    with pytest.raises(InvalidConfiguration, match="Name"):
        await validate(Path(binaries.envoy()), path)


async def test_a_request_finds_the_endpoint_that_lives_among_dead_ones(tmp_path: Path) -> None:
    """One of two answers: safe retries look at the other, so no request fails."""
    outbound, app, dead = free_ports(3)
    state = a_state(
        a_service("api"),
        *(a_workload(f"api-{number}", app=port) for number, port in enumerate((app, dead))),
        a_workload("web", meshed=True, outbound_port=outbound),
    )
    async with (
        application(app),
        envoy(tmp_path, "web", rendered(state, "web"), TestAuthority().secrets(API)),
        aiohttp.ClientSession() as session,
    ):
        found = [
            await _status(session, f"http://127.0.0.1:{outbound}/", {"Host": "api.mesh"}) for _ in range(60)
        ]
    assert set(found) == {200}
