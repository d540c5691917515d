"""The rendering for gRPC clients that speak xDS themselves, used by grpcio's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from envoy.render import Rendered, Renderer
from mesh.state import MeshState
from mesh.views import endpoints_views, service_view
from mesh.workload import WorkloadPort
from tests.support.builders import a_port, a_service, a_state, a_workload
from tests.support.envoy_ads import Ads, ads

CLIENT = Path(__file__).parents[1] / "support" / "envoy_grpc_client.py"


@contextlib.asynccontextmanager
async def greeter(name: str) -> AsyncIterator[int]:
    """A gRPC server that answers its name. Yields its port."""

    async def hello(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return name.encode()

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(hello)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Greeter", {"Hello": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def client(target: str, control_plane: Ads) -> AsyncIterator[asyncio.StreamReader]:
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{control_plane.port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "default/web-1"},
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(CLIENT), target),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def answered(output: asyncio.StreamReader, wanted: str) -> None:
    """Read until `wanted` answers. Calls that fail are shown if it never does."""
    seen: list[str] = []
    try:
        async with asyncio.timeout(30):
            while (line := (await output.readline()).decode().strip()) != wanted:
                seen.append(line)
    except TimeoutError:
        raise AssertionError(f"{wanted} never answered, but {sorted(set(seen))}") from None


def given(state: MeshState) -> Iterator[Rendered]:
    renderer = Renderer()
    for key in state.services:
        yield from renderer.proxyless_service(service_view(state, key), "default")
        for view in endpoints_views(state, key):
            yield renderer.proxyless_endpoints(view)


def mesh_with(*instances: tuple[str, int]) -> MeshState:
    return a_state(
        a_service("greeter", a_port("grpc", 50051, "grpc")),
        *(
            a_workload(name, services=["greeter"], ports=[WorkloadPort("grpc", port)])
            for name, port in instances
        ),
        # Has a sidecar, so it takes mesh TLS only, which this client does not speak.
        a_workload("sidecar", services=["greeter"], ports=[WorkloadPort("grpc", 1, 1)], meshed=True),
    )


@pytest.mark.parametrize("target", ["greeter.mesh:50051", "greeter:50051", "greeter.default.mesh:50051"])
async def test_a_grpc_client_finds_its_servers_and_follows_changes(target: str) -> None:
    async with greeter("first") as first, greeter("second") as second, ads() as control_plane:
        control_plane.publish(given(mesh_with(("a", first))))
        async with client(f"xds:///{target}", control_plane) as output:
            await answered(output, "first")
            control_plane.publish(given(mesh_with(("a", first), ("b", second))))
            await answered(output, "second")
            control_plane.publish(given(mesh_with(("b", second))))
            async with asyncio.timeout(30):
                run = 0
                while run < 10:  # round robin would come back to the first
                    run = run + 1 if (await output.readline()).strip() == b"second" else 0
