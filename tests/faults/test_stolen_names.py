"""Who only says a name, in plaintext, neither gets the keys of who proved it nor takes anything away from it."""

from __future__ import annotations

import contextlib

import grpc
import grpc.aio
import pytest

from pb.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from pb.envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub
from tests.support.mesh import Instance, Mesh
from tests.support.processes import eventually
from tests.support.xds_streams import Stream
from xds.types import CLUSTER, SECRET


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_a_plaintext_stream_of_the_same_name_gets_no_keys(mesh: Mesh, delta: bool) -> None:
    """The order in which it once worked: the thief waits first, the true proxy comes, then the workload is discovered."""
    web, late = Instance("web", "web-1", uses=("late",)), Instance("late", "late-1")
    mesh.write_service("web", web)
    await mesh.serve()
    await mesh.up(web)
    async with Stream(mesh.plaintext_port, delta=delta, node="default/late-1") as thief:
        await thief.ask(CLUSTER)
        await thief.ask(SECRET, "identity", "roots")
        await mesh.app(late)
        await mesh.sidecar(late, ready=False)

        async def waits() -> bool:
            return {proxy.proxy for proxy in (await mesh.status()).proxies if proxy.state == "waiting"} == {
                "default/late-1",
                "default/late-1 (plaintext)",
            }

        await eventually(waits, "the true proxy and the thief wait side by side")
        mesh.write_service("late", late)
        await mesh.sidecar_ready(late)
        answers = [await thief.read()]
        with contextlib.suppress(TimeoutError):
            while True:
                answers.append(await thief.read(0.5))
        assert CLUSTER in {answer.type_url for answer in answers}, "the thief was answered"
        assert not any(answer.names for answer in answers if answer.type_url == SECRET)
        assert "BEGIN" not in str(answers)

        async def passes() -> bool:
            return (await mesh.call(web, "late.mesh"))[0] == 200

        await eventually(passes, "the true proxy serves")
    # The thief has gone, and something changes: the true proxy keeps its listeners and its keys.
    late.uses = ("web",)
    mesh.write_service("late", late)

    async def changed() -> bool:
        return bool(await mesh.endpoints(late, "default/web:80"))

    await eventually(changed, "the change reached the true proxy")
    assert await passes()


async def test_who_has_proved_nothing_tells_of_no_calls(mesh: Mesh) -> None:
    """Else anybody on the machine could keep a port from becoming strict, in the name of its workload."""
    await mesh.serve()
    message = StreamAccessLogsMessage()
    message.identifier.node.id, message.identifier.log_name = "default/late-1", "meshwright.plaintext"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.plaintext_port}") as channel:
        call = AccessLogServiceStub(channel).StreamAccessLogs(iter([message]))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
