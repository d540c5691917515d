"""Who only says a name, in plaintext, neither gets the keys of who proved it nor takes anything away from it."""

from __future__ import annotations

import contextlib

import grpc
import grpc.aio
import pytest

from ca.control_plane import server_name
from ca.csr import make_csr
from ca.keys import key_pem, new_key
from ca.times import system_clock
from ca.tokens import TokenStore
from pb.envoy.service.accesslog.v3.als_pb2_grpc import AccessLogServiceStub
from pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from pb.envoy.service.ratelimit.v3.rls_pb2_grpc import RateLimitServiceStub
from pb.meshwright.join.v1.join_pb2 import JoinRequest
from pb.meshwright.join.v1.join_pb2_grpc import JoinServiceStub
from policies.rate_limit_messages import LIMIT_KEY, POLICY_KEY
from tests.support.mesh import Instance, Mesh, a_document
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


async def test_a_stranger_spends_no_limit_of_another_workload(mesh: Mesh) -> None:
    """Neither with a certificate of its own nor in plaintext."""
    for name in ("web", "store"):
        mesh.write_service(name, Instance(name, f"{name}-1"))
    spec = {"targetRefs": [{"kind": "Service", "name": "store"}], "global": {"requests": 2, "unit": "hour"}}
    mesh.write("limit.yaml", a_document("RateLimit", "limit", spec))
    await mesh.serve()
    owner, stranger = [await joined(mesh, name) for name in ("store", "web")]
    plain = grpc.aio.insecure_channel(f"127.0.0.1:{mesh.plaintext_port}")
    async with owner, stranger, plain:
        for channel in (stranger, plain):
            for _ in range(3):
                await asked(channel, 100_000)
        assert [await asked(stranger) for _ in range(3)] == [RateLimitResponse.OK] * 3
        assert [await asked(owner, 100) for _ in range(3)] == [
            RateLimitResponse.OK,
            RateLimitResponse.OK,
            RateLimitResponse.OVER_LIMIT,
        ]


async def joined(mesh: Mesh, name: str) -> grpc.aio.Channel:
    """A connection with a certificate of `<name>-1`."""
    key, roots = new_key(), (mesh.data / "roots.pem").read_bytes()
    over = (
        ("grpc.ssl_target_name_override", server_name("mesh.local")),
        ("grpc.use_local_subchannel_pool", 1),
    )
    token = TokenStore(mesh.data).create("default", name, now=system_clock())
    request = JoinRequest(namespace="default", workload=f"{name}-1", csr=make_csr(key).der, join_token=token)
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{mesh.join_port}", grpc.ssl_channel_credentials(roots), options=over
    ) as channel:
        given = await JoinServiceStub(channel).Join(request, timeout=10)
    credentials = grpc.ssl_channel_credentials(roots, key_pem(key), given.chain_pem)
    return grpc.aio.secure_channel(f"127.0.0.1:{mesh.xds_port}", credentials, options=over)


async def asked(channel: grpc.aio.Channel, hits: int = 1) -> int:
    """What is answered to a question as the sidecars of the limited service put it."""
    question = RateLimitRequest(domain="mesh.local", hits_addend=hits)
    entries = question.descriptors.add().entries
    entries.add(key=POLICY_KEY, value="default/limit")
    entries.add(key=LIMIT_KEY, value="2/hour")
    return (await RateLimitServiceStub(channel).ShouldRateLimit(question, timeout=10)).overall_code


async def test_who_has_proved_nothing_tells_of_no_calls(mesh: Mesh) -> None:
    """Else anybody on the machine could keep a port from becoming strict, in the name of its workload."""
    await mesh.serve()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.plaintext_port}") as channel:
        # Says nothing: a stream that ends while we speak may end in other words.
        call = AccessLogServiceStub(channel).StreamAccessLogs()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
