"""grpcio's own `xds:///` client, no Envoy, against `meshwright serve` with documents: it finds its servers and follows changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.support.mesh import Mesh, a_document
from tests.support.processes import Process, eventually, running

CLIENT = Path(__file__).parents[1] / "support" / "envoy_grpc_client.py"


@contextlib.asynccontextmanager
async def greeter(name: str) -> AsyncIterator[int]:
    """A gRPC server that answers its name, with no sidecar. Yields its port."""

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


def a_service(*ports: int) -> dict[str, Any]:
    return a_document(
        "Service",
        "greeter",
        {"ports": [{"name": f"grpc{port}", "port": port, "protocol": "grpc"} for port in ports]},
    )


def an_instance(name: str, app: int, **more: Any) -> dict[str, Any]:
    spec = {"services": ["greeter"], "address": "127.0.0.1", "ports": [{"name": "grpc50051", "app": app}]}
    return a_document("Workload", name, spec | more)


def a_caller(uses: list[str] | None) -> dict[str, Any]:
    return a_document("Workload", "caller", {"address": "127.0.0.1"} | ({"uses": uses} if uses else {}))


@contextlib.asynccontextmanager
async def calling(folder: Path, mesh: Mesh, target: str) -> AsyncIterator[Process]:
    """A process that goes on calling `target`; each line that it prints is an answer, or an error."""
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{mesh.plaintext_port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "default/caller"},
    }
    environment = os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)}
    async with running("caller", folder, sys.executable, str(CLIENT), target, env=environment) as process:
        yield process


async def answers(process: Process, *wanted: str, lines: int = 20) -> None:
    """Wait until the last `lines` answers are just those of `wanted`."""

    async def all_from_them() -> bool:
        # gRPC's own log is there as well.
        last = [line for line in process.text().splitlines() if line in {"first", "second", "third"}][-lines:]
        return len(last) == lines and set(last) == set(wanted)

    await eventually(all_from_them, f"answers of {wanted}", process)


@pytest.mark.parametrize("uses", [None, ["greeter"]], ids=["everything", "narrowed"])
async def test_a_grpc_client_finds_its_servers_and_follows_changes(
    mesh: Mesh, tmp_path: Path, uses: list[str] | None
) -> None:
    async with greeter("first") as one, greeter("second") as two, greeter("third") as three:
        first, second = an_instance("greeter-1", one), an_instance("greeter-2", two)
        mesh.write("services.yaml", a_service(50051), a_caller(uses))
        mesh.write("instances.yaml", first)
        await mesh.serve()
        async with calling(tmp_path, mesh, "xds:///greeter.mesh:50051") as caller:
            await answers(caller, "first")
            mesh.write("instances.yaml", first, second)  # one more
            await answers(caller, "first", "second")
            mesh.write("instances.yaml", first, second | an_instance("greeter-2", two, health="critical"))
            await answers(caller, "first")
            mesh.write("instances.yaml", second, an_instance("greeter-3", three))  # one gone, one new
            await answers(caller, "second", "third")
            # One behind a sidecar takes mesh TLS alone, which this client does not speak.
            meshed = an_instance("greeter-3", three, meshed=True)
            meshed["spec"]["ports"][0]["sidecar"] = 1
            mesh.write("instances.yaml", second, meshed)
            await answers(caller, "second")
            # The service changes: another port beside the first.
            mesh.write("services.yaml", a_service(50051, 50052), a_caller(uses))
            await answers(caller, "second")
            assert not failed_calls(caller.text())
            (proxy,) = (await mesh.status()).proxies
            assert proxy.agent.startswith("gRPC")
            assert all(kind.in_sync and kind.refused is None for kind in proxy.types), proxy


def failed_calls(text: str) -> list[str]:
    """What the program says of its calls. Beside that gRPC's own library tells of a control plane that is away."""
    return [line for line in text.splitlines() if line.startswith("failed: ")]


async def test_a_grpc_client_survives_a_restart_of_the_control_plane(mesh: Mesh, tmp_path: Path) -> None:
    async with greeter("first") as one, greeter("second") as two:
        mesh.write("services.yaml", a_service(50051), a_caller(None))
        mesh.write("instances.yaml", an_instance("greeter-1", one))
        server = await mesh.serve()
        async with calling(tmp_path, mesh, "xds:///greeter:50051") as caller:
            await answers(caller, "first")
            await server.kill()
            await answers(caller, "first")
            await mesh.serve()

            async def reconnected() -> bool:
                proxies = (await mesh.status()).proxies
                return len(proxies) == 1 and all(kind.in_sync for kind in proxies[0].types)

            await eventually(reconnected, "the client is back")
            mesh.write("instances.yaml", an_instance("greeter-2", two))
            await answers(caller, "second")
            assert not failed_calls(caller.text())


async def test_a_name_that_does_not_exist_fails_and_does_not_hang(mesh: Mesh, tmp_path: Path) -> None:
    mesh.write("services.yaml", a_service(50051), a_caller(None))
    await mesh.serve()
    async with calling(tmp_path, mesh, "xds:///nobody.mesh:50051") as caller:

        async def told() -> bool:
            return "UNAVAILABLE" in caller.text()

        await eventually(told, "calls fail with a status", caller)
        await asyncio.sleep(0)
