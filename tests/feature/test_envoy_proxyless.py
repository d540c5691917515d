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
from mesh.events import Declared, SourceSnapshot
from mesh.routes import Match, PathKind, PathMatch, RouteKind
from mesh.state import MeshState
from mesh.views import endpoints_views, service_view
from mesh.workload import WorkloadPort
from tests.support.builders import a_port, a_service, a_state, a_workload
from tests.support.envoy_ads import Ads, ads
from tests.support.routes import a_route, a_rule, at_service, to

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


async def test_a_grpc_client_follows_grpc_routes_and_is_spared_http_routes() -> None:
    """It would refuse what an HTTPRoute may say, and with it everything else of the service."""
    async with greeter("first") as first, greeter("second") as second, ads() as control_plane:
        state = mesh_with(("a", first))
        other = a_service("other", a_port("grpc", 50051, "grpc"))
        instance = a_workload("b", services=["other"], ports=[WorkloadPort("grpc", second)])
        state, _ = state.apply(SourceSnapshot("second", (other,), (instance,)))
        matches = {
            RouteKind.HTTP: Match(PathMatch(PathKind.PREFIX, "/test.Greeter")),
            RouteKind.GRPC: Match(PathMatch(PathKind.PREFIX, "/test.Greeter/")),
        }
        http, grpc_route = (
            a_route(
                "r",
                a_rule(match, backends=(to("other", 50051),)),
                kind=kind,
                parents=(at_service("greeter"),),
            )
            for kind, match in matches.items()
        )
        with_http, _ = state.apply(SourceSnapshot("r", declared=(Declared("HTTPRoute", http),)))
        control_plane.publish(given(with_http))
        async with client("xds:///greeter.mesh:50051", control_plane) as output:
            await answered(output, "first")
            both = (Declared("HTTPRoute", http), Declared("GRPCRoute", grpc_route))
            with_both, _ = state.apply(SourceSnapshot("r", declared=both))
            control_plane.publish(given(with_both))
            await answered(output, "second")
