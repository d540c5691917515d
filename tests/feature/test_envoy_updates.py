"""What an update does to connections that are open, and to the listeners that take new ones.

One Envoy is caller and callee at once: local port → outbound → mesh TLS → its own inbound port → the application.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from envoy.bootstrap import BootstrapInput, render
from envoy.launcher import EnvoyProcess, LaunchOptions
from mesh.service import ServicePort
from mesh.state import MeshState
from mesh.workload import Use, WorkloadPort
from tests.support import binaries
from tests.support.builders import TRUST_DOMAIN, a_key, a_port, a_service, a_state, a_workload
from tests.support.envoy_ads import Ads, ads
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import echo, rendered
from tests.support.ports import free_ports
from tests.support.processes import eventually

SELF = f"spiffe://{TRUST_DOMAIN}/ns/default/sa/one"
AUTHORITY_OF = "default/one"


@contextlib.asynccontextmanager
async def sidecar(folder: Path, control_plane: Ads) -> AsyncIterator[EnvoyProcess]:
    path = folder / "bootstrap.json"
    path.write_text(render(BootstrapInput(AUTHORITY_OF, "one", "127.0.0.1", control_plane.port)))
    options = LaunchOptions(
        Path(binaries.envoy()), path, log=folder / "envoy.log", drain_time=1, concurrency=1
    )
    process = await EnvoyProcess.start(options)
    try:
        await process.wait_ready(30)
        yield process
    finally:
        await process.stop()


async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(text)
    async with asyncio.timeout(10):
        return await reader.readexactly(len(text))


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # the other end may have closed it first
            await writer.wait_closed()


async def reaches(port: int) -> bool:
    """Whether what is sent to `port` comes back."""
    try:
        async with connected(port) as (reader, writer):
            return await says(reader, writer, b"hello") == b"hello"
    except (OSError, asyncio.IncompleteReadError):
        return False


async def total(process: EnvoyProcess, pattern: str) -> int:
    return sum((await process.admin.stats(pattern)).values())


async def test_a_service_more_on_the_same_ports_disturbs_no_connection(tmp_path: Path) -> None:
    app, inbound, first, second, outbound = free_ports(5)
    port = a_port("raw", 7000, "tcp")

    def mesh(*names: str) -> MeshState:
        uses = [Use(a_key(name), None, local) for name, local in zip(names, (first, second), strict=False)]
        return a_state(
            *(a_service(name, port) for name in names),
            a_workload(
                "one",
                services=names,
                service_account="one",
                meshed=True,
                ports=[WorkloadPort("raw", app, inbound)],
                uses=uses,
                outbound_port=outbound,
            ),
        )

    secrets = TestAuthority().secrets(SELF)
    async with ads() as control_plane, echo(app):
        control_plane.publish(rendered(mesh("echo"), AUTHORITY_OF), secrets)
        async with (
            sidecar(tmp_path, control_plane) as process,
            connected(first) as (reader, writer),
        ):
            assert await says(reader, writer, b"before") == b"before"
            control_plane.publish(rendered(mesh("echo", "again"), AUTHORITY_OF), secrets)
            await eventually(lambda: reaches(second), "the new service is reached")
            # Longer than the drain time: had the listener been replaced, the connection would be gone.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 2)
            assert await says(reader, writer, b"after") == b"after"
            assert await total(process, r"^listener_manager\.listener_create_failure$") == 0
            assert await total(process, r"^listener_manager\.lds\.update_rejected$") == 0
            assert await total(process, r"^listener_manager\.listener_in_place_updated$") >= 1


async def test_another_service_behind_a_local_port_is_an_update_that_envoy_takes(tmp_path: Path) -> None:
    """Were listeners named after services, this would be two of them on one address, which Envoy refuses."""
    first, second, local, other, outbound = free_ports(5)

    def mesh(at_local: str, at_other: str) -> MeshState:
        ports: dict[str, tuple[ServicePort, int]] = {
            "a": (a_port("raw", 7000, "tcp"), first),
            "b": (a_port("raw", 7000, "tcp"), second),
        }
        return a_state(
            *(a_service(name, port) for name, (port, _) in ports.items()),
            *(a_workload(f"{name}-1", ports=[WorkloadPort("raw", app)]) for name, (_, app) in ports.items()),
            a_workload(
                "one",
                meshed=True,
                uses=[Use(a_key(at_local), None, local), Use(a_key(at_other), None, other)],
                outbound_port=outbound,
            ),
        )

    secrets = TestAuthority().secrets(SELF)
    async with ads() as control_plane, echo(first):  # nobody answers as b
        control_plane.publish(rendered(mesh("a", "b"), AUTHORITY_OF), secrets)
        async with sidecar(tmp_path, control_plane) as process:
            assert await reaches(local)
            assert not await reaches(other)
            control_plane.publish(rendered(mesh("b", "a"), AUTHORITY_OF), secrets)

            async def swapped() -> bool:
                return await reaches(other) and not await reaches(local)

            await eventually(swapped, "the two ports lead to each other's service")
            assert await total(process, r"^listener_manager\.lds\.update_rejected$") == 0
