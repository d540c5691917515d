"""The agent's own port, and checks of real applications: of HTTP, of TCP and of gRPC, each on an address of the host that is not 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from agent.app_checks import AppAddress
from agent.app_probes import AppCheck, GrpcCheck, HttpCheck, TcpCheck, Way, dumped, parsed
from agent.attendant import attending, taking_leave
from agent.departure import Departure
from agent.errors import AgentError, BadOption
from agent.leave_socket import ask_to_leave
from tests.support.ports import free_port

HOST = "127.0.0.77"
"""In the place of the pod's address."""
APP = AppAddress(HOST, "127.0.0.6")


@dataclass
class Application:
    """Answers on HOST alone. `callers` are the addresses that it was called from."""

    port: int
    grpc_port: int
    callers: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def an_application() -> AsyncIterator[Application]:
    made = Application(free_port(), free_port())

    async def answer(request: web.Request) -> web.Response:
        made.callers.append(str(request.remote))
        made.headers.append(dict(request.headers))
        match request.path:
            case "/moved":
                raise web.HTTPFound("/good")
            case "/away":
                raise web.HTTPFound("http://127.0.0.78:1/")
            case "/round":
                raise web.HTTPFound("/round")
            case "/slow":
                await asyncio.Event().wait()
        return web.Response(status=200 if request.path == "/good" else 500, text=request.query_string)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, made.port).start()

    async def health(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        made.asked.append(message)
        del context
        return b"\x08\x01" if message in {b"", b"\x0a\x04shop"} else b"\x08\x02"

    class Health(grpc.GenericRpcHandler):
        def service(
            self, handler_call_details: grpc.HandlerCallDetails
        ) -> grpc.RpcMethodHandler[bytes, bytes]:
            del handler_call_details
            return grpc.unary_unary_rpc_method_handler(health)

    server = grpc.aio.server(handlers=(Health(),), options=(("grpc.so_reuseport", 0),))
    server.add_insecure_port(f"{HOST}:{made.grpc_port}")
    await server.start()
    try:
        yield made
    finally:
        await server.stop(None)
        await runner.cleanup()


@dataclass
class Agent:
    port: int
    departure: Departure
    ready: bool = False

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port}{path}"
        headers = {"User-Agent": "kube-probe/1.34", "Cookie": "a=b"}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def an_agent(*checks: AppCheck) -> AsyncIterator[Agent]:
    agent = Agent(free_port(), Departure())

    async def ready() -> bool:
        return agent.ready

    by_name = {each.name: each for each in checks}
    async with attending(agent.departure, ready, by_name, APP, agent.port):
        yield agent


async def test_it_is_ready_when_the_sidecar_is() -> None:
    async with an_agent() as agent:
        assert (await agent.get("/healthz/ready"))[0] == 503
        agent.ready = True
        assert (await agent.get("/healthz/ready"))[0] == 200


async def checked(way: Way, timeout: float = 30.0) -> tuple[int, str]:  # noqa: ASYNC109 - of the check
    async with an_agent(AppCheck("app/liveness", way, timeout)) as agent:
        return await agent.get("/app-health/app/liveness")


async def test_http_is_asked_as_the_kubelet_would_have_asked() -> None:
    async with an_application() as app:
        check = HttpCheck(app.port, "/good?a=1", "http", (("Host", "api.example"), ("X-Check", "yes")))
        assert await checked(check) == (200, "a=1")
        assert app.callers == ["127.0.0.6"]
        (headers,) = app.headers
        assert headers["Host"] == "api.example"
        assert headers["X-Check"] == "yes"
        assert headers["User-Agent"] == "kube-probe/1.34"
        assert "Cookie" not in headers


@pytest.mark.parametrize(
    ("path", "status"), [("/bad", 500), ("/moved", 200), ("/away", 200), ("/round", 503), ("good", 200)]
)
async def test_what_http_answers_is_what_is_answered(path: str, status: int) -> None:
    async with an_application() as app:
        assert (await checked(HttpCheck(app.port, path)))[0] == status


async def test_an_answer_that_does_not_come_in_time_is_none() -> None:
    async with an_application() as app:
        status, said = await checked(HttpCheck(app.port, "/slow"), timeout=0.05)
        assert (status, said) == (503, "no answer within 0.05 s")


async def test_tls_where_there_is_none_is_a_failure() -> None:
    async with an_application() as app:
        assert (await checked(HttpCheck(app.port, "/good", "https")))[0] == 503


async def test_tcp_is_connected_to() -> None:
    async with an_application() as app:
        assert (await checked(TcpCheck(app.port)))[0] == 200
    assert (await checked(TcpCheck(free_port())))[0] == 503


@pytest.mark.parametrize(("service", "status"), [("", 200), ("shop", 200), ("other", 503), ("x" * 300, 503)])
async def test_grpc_is_asked_for_its_service(service: str, status: int) -> None:
    async with an_application() as app:
        assert (await checked(GrpcCheck(app.grpc_port, service)))[0] == status
        length = b"\xac\x02" if len(service) == 300 else bytes([len(service)])
        assert app.asked == [b"\x0a" + length + service.encode() if service else b""]


async def test_grpc_without_a_server_fails() -> None:
    assert (await checked(GrpcCheck(free_port())))[0] == 503


async def test_only_what_is_declared_is_asked_and_nothing_ends_from_outside() -> None:
    async with (
        an_application() as app,
        an_agent(AppCheck("app/pre-stop", HttpCheck(app.port, "/good"))) as agent,
    ):
        for path in ("/app-health/app/pre-stop", "/app-health/app/readiness", "/leave", "/"):
            assert (await agent.get(path))[0] == 404
        assert app.callers == []


async def test_a_containers_own_end_is_called_once_after_callers_have_heard() -> None:
    async with (
        an_application() as app,
        an_agent(AppCheck("app/pre-stop", HttpCheck(app.port, "/good"))) as agent,
    ):
        waiting = asyncio.create_task(agent.get("/left/app"))
        await agent.departure.leave()
        assert (await waiting)[0] == 200
        assert len(app.callers) == 1
        assert await agent.get("/left/app") == (200, "callers have heard\n")
        assert await agent.get("/left") == (200, "callers have heard\n")
        assert len(app.callers) == 1


async def test_leaving_is_asked_for_on_a_socket(tmp_path: Path) -> None:
    departure, socket = Departure(), tmp_path / "sds" / "leave.sock"
    with pytest.raises(AgentError, match="no agent answers"):
        ask_to_leave(socket, 30)
    async with taking_leave(departure, socket):
        await asyncio.to_thread(ask_to_leave, socket, 30)
        assert await departure.left(0)
    async with taking_leave(Departure(), socket):  # what the one before left there is in nobody's way
        await asyncio.to_thread(ask_to_leave, socket, 30)


async def test_a_port_that_is_taken_says_which() -> None:
    async with an_agent() as agent:
        with pytest.raises(BadOption, match=f"{agent.port}.*--agent-port"):
            async with attending(Departure(), asyncio.Event().wait, {}, APP, agent.port):
                pass


def test_checks_pass_through_the_environment() -> None:
    checks = (
        AppCheck("app/liveness", HttpCheck(80, "/a?b=c", "https", (("A", "ä"),)), 2.0),
        AppCheck("app/readiness", TcpCheck(81)),
        AppCheck("b/startup", GrpcCheck(82, "shop")),
    )
    assert parsed(dumped(checks)) == {each.name: each for each in checks}
    assert parsed("{}") == {}
    with pytest.raises(BadOption, match="inject the pod again"):
        parsed('{"a": {"timeout": 1}}')


def test_the_application_is_asked_at_the_pods_address() -> None:
    assert AppAddress.of_pod("10.0.0.1") == AppAddress("10.0.0.1", "127.0.0.6")
    assert AppAddress.of_pod("fd00::1") == AppAddress("fd00::1", "::6")
    assert AppAddress.of_pod("") == AppAddress("127.0.0.1", "")
