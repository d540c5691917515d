"""What an application reads when its own sidecar answers: no route, no endpoint. With a real Envoy."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import grpc
import pytest

from envoy.render import Renderer
from mesh.state import MeshState
from mesh.workload import Health, Use
from tests.support.builders import TRUST_DOMAIN, a_key, a_service, a_state, a_workload
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import envoy, rendered
from tests.support.ports import free_ports

WEB = f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web"


def a_mesh(outbound: int, local: int) -> MeshState:
    return a_state(
        a_service("api"),
        a_workload("api-1", health=Health.CRITICAL),
        a_service("store"),
        a_workload("store-1"),
        a_workload(
            "web",
            meshed=True,
            outbound_port=outbound,
            uses=[Use(a_key("api"), None, local)],
        ),
    )


async def ask(port: int, host: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/", headers={"Host": host}) as answer,
    ):
        return answer.status, await answer.text()


async def test_the_sidecars_own_answers_say_what_is_wrong(tmp_path: Path) -> None:
    outbound, local = free_ports(2)
    resources = rendered(a_mesh(outbound, local), "web", Renderer())
    async with envoy(tmp_path, "web", resources, TestAuthority().secrets(WEB)):
        for host in ("nobody.mesh", "API.mesh", "store.mesh"):  # unknown, in upper case, not among `uses`
            status, text = await ask(outbound, host)
            assert status == 404
            assert text == (
                "no route: no service of that name (in lower case) that this workload uses; see `uses` of its document\n"
            )
        assert await ask(outbound, "api.mesh") == (503, "no healthy endpoint of api.mesh\n")
        assert await ask(local, "anything") == (503, "no healthy endpoint of anything\n")


async def test_a_grpc_client_reads_the_same_in_its_status(tmp_path: Path) -> None:
    outbound, local = free_ports(2)
    resources = rendered(a_mesh(outbound, local), "web")
    async with (
        envoy(tmp_path, "web", resources, TestAuthority().secrets(WEB)),
        grpc.aio.insecure_channel(
            f"127.0.0.1:{outbound}", options=(("grpc.default_authority", "nobody.mesh"),)
        ) as channel,
    ):
        call = channel.unary_unary("/a.B/C", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (caught.value.details() or "").startswith("no route: no service of that name")
