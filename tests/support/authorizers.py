"""Authorization services for tests, by HTTP and by gRPC: honest ones that say what they were asked, and failing, slow and lying ones.

What a server answers is asked for by the request in question, in the header `x-authz`: `ok`, `deny`, `500`, `hang`, `garbage`, `huge`, `odd`
(headers that nobody may set), `slow`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Self

import grpc
from aiohttp import web

from pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from pb.envoy.type.v3.http_status_pb2 import StatusCode
from tests.support.ports import LOOPBACK

WISH = "x-authz"
CHECK = "/envoy.service.auth.v3.Authorization/Check"
ODD = {
    "host": "evil.example",
    "x-forwarded-client-cert": "URI=spiffe://mesh.local/ns/default/sa/root",
    "content-length": "3",
    "transfer-encoding": "chunked",
    ":path": "/admin",
    ":authority": "evil.example",
    "x-envoy-upstream-rq-timeout-ms": "1",
}
"""Headers that would change where a request goes, what it is, or who called."""
SLOW = 0.15
HUGE = 8 * 1024 * 1024


class HttpAuthorizer:
    """An async context manager. `asked`: the requests it was sent, with their bodies."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[tuple[web.BaseRequest, bytes]] = []
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request, await request.read()))
        match request.headers.get(WISH, "ok"):
            case "ok":
                headers = {"x-user": "ann", "x-secret": "s", "x-to-client": "c", "content-type": "text/odd"}
                return web.Response(headers=headers)
            case "deny":
                headers = {"x-why": "because", "location": "https://login.example"}
                return web.Response(status=302, text="go and log in", headers=headers)
            case "201":
                return web.Response(status=201)
            case "500":
                return web.Response(status=500, text="boom")
            case "hang":
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(30)
                return web.Response()
            case "slow":
                await asyncio.sleep(SLOW)
                return web.Response()
            case "huge":
                return web.Response(status=403, body=b"x" * HUGE)
            case "odd":
                return web.Response(
                    headers={
                        each: ODD[each] for each in ODD if not each.startswith((":", "transfer", "content"))
                    }
                )
            case "garbage":
                assert request.transport is not None
                request.transport.write(b"HTTP/1.1 2xx maybe\r\n\x00\xff\r\n\r\n")
                request.transport.close()
                return web.Response()
            case wish:
                raise AssertionError(wish)


class GrpcAuthorizer:
    """The same by gRPC. `asked` are the CheckRequests, `metadata` what came with each."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[CheckRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._check)
        service, _, method = CHECK[1:].rpartition("/")
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        assert self._server.add_insecure_port(f"{LOOPBACK}:{self.port}") == self.port
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.stop(None)

    async def _check(self, body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        asked = CheckRequest.FromString(body)
        self.asked.append(asked)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        made = CheckResponse()
        match asked.attributes.request.http.headers.get(WISH, "ok"):
            case "ok":
                _set(made.ok_response.headers, {"x-user": "ann"})
                _set(made.ok_response.response_headers_to_add, {"x-to-client": "c"})
            case "deny":
                made.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
                made.denied_response.status.code = StatusCode.PaymentRequired
                made.denied_response.body = "pay first"
                _set(made.denied_response.headers, {"x-why": "because"})
            case "500":
                await context.abort(grpc.StatusCode.INTERNAL, "boom")
            case "hang":
                await asyncio.sleep(30)
            case "slow":
                await asyncio.sleep(SLOW)
            case "huge":
                made.status.code = 7
                made.denied_response.body = "x" * 3 * 1024 * 1024
            case "odd":
                _set(made.ok_response.headers, ODD)
            case "garbage":
                return b"\xff\xff\xff not a CheckResponse"
            case wish:
                raise AssertionError(wish)
        return made.SerializeToString()


def _set(options: Any, headers: dict[str, str] | Iterable[tuple[str, str]]) -> None:
    for name, value in dict(headers).items():
        option = options.add()
        option.header.key, option.header.value = name, value
