"""gRPC of the traffic tests, without generated code: messages are JSON as bytes, and any service and method is served.

A method whose name ends in `Stream` answers with three messages, one whose name ends in `Chat` echoes each message that comes, any other is
unary. `grpc.health.v1.Health/Check` says SERVING, or NOT_SERVING while `healthy` is off.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio

from tests.support.ports import LOOPBACK
from tests.support.traffic.members import Member
from tests.support.traffic.servers import Seen, Server, Tries, caller, identify

HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
STREAMED = 3
CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcServer(Server, grpc.GenericRpcHandler):
    """Behaviours that it knows: delay, status (a gRPC code: 14 is UNAVAILABLE), fail-first and fail-every (with `status`, or
    14), hang, header (initial metadata), only. A `Seen` has the method as `path`, metadata as `headers`, and the gRPC code as `status`.
    """

    def __init__(self, member: Member, tries: Tries) -> None:
        super().__init__(member, tries)
        self.healthy = True
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(handlers=(self,), options=(("grpc.so_reuseport", 0),))
        self._server.add_insecure_port(f"{LOOPBACK}:{self.member.app_ports['grpc']}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    def reset(self) -> None:
        super().reset()
        self.healthy = True

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        if method == HEALTH:
            return grpc.unary_unary_rpc_method_handler(self._health)

        async def unary(message: bytes, context: Context) -> bytes:
            return await self._answer(method, message, context)

        async def stream(message: bytes, context: Context) -> AsyncIterator[bytes]:
            answer = await self._answer(method, message, context)
            for _ in range(STREAMED):
                yield answer

        async def chat(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            yield await self._answer(method, b"", context)
            async for message in messages:
                yield message

        if method.endswith("Chat"):
            return grpc.stream_stream_rpc_method_handler(chat)
        if method.endswith("Stream"):
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _health(self, _: bytes, __: Context) -> bytes:
        return SERVING if self.healthy else NOT_SERVING

    async def _answer(self, method: str, message: bytes, context: Context) -> bytes:
        with self.answering():
            began = time.monotonic()
            headers = texts(context.invocation_metadata() or ())

            def saw(code: int) -> None:
                self.requests.append(
                    Seen(self.name, "POST", method, headers, len(message), message, began, code)
                )

            try:
                asked = self.behaviour(method, headers)
            except ValueError as error:
                saw(3)
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            failing = self.fails(asked, headers.get("x-request-id", method))
            counted = bool(asked.fail_first or asked.fail_every)
            code = asked.status or (14 if counted else 0)
            if counted and not failing:
                code = 0
            if asked.hang:
                saw(code)
            if wait := 3600.0 if asked.hang else asked.delay:
                await asyncio.sleep(wait)  # a call that is given up is cancelled
            saw(code)
            metadata = (("x-workload", self.name), *asked.headers)
            if code:
                # Trailers alone, as servers do: proxies look for the status of a call in what comes first.
                await context.abort(CODES[code], f"as asked, by {self.name}", metadata)
            await context.send_initial_metadata(metadata)
            told = {
                **identify(self.member),
                "method": method,
                "headers": headers,
                "size": len(message),
                "caller": caller(headers),
            }
            return json.dumps(told).encode()


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """What a gRPC caller got. `messages` are all that came; `headers` and `trailers` are metadata."""

    code: grpc.StatusCode
    details: str
    messages: tuple[bytes, ...]
    headers: dict[str, str]
    trailers: dict[str, str]
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code is grpc.StatusCode.OK

    @property
    def json(self) -> Any:
        """The first message."""
        return json.loads(self.messages[0])

    @property
    def workload(self) -> str:
        return self.headers.get("x-workload") or self.trailers.get("x-workload", "")


class GrpcClient:
    """Channels are kept, one for each port and authority."""

    def __init__(self) -> None:
        self._channels: dict[tuple[int, str], grpc.aio.Channel] = {}

    async def call(
        self,
        port: int,
        authority: str,
        method: str,
        messages: Iterable[bytes],
        metadata: Mapping[str, str],
        patience: float,
    ) -> GrpcAnswer:
        """One call, as the name of `method` says (see above). Never raises for what the server says."""
        channel: Any = self._channel(port, authority)  # its stubs know no methods without serializers
        began = time.monotonic()
        sent, pairs = tuple(messages), tuple(metadata.items())
        call: Any
        if method.endswith("Chat"):
            call = channel.stream_stream(method)(iter(sent), metadata=pairs, timeout=patience)
        elif method.endswith("Stream"):
            call = channel.unary_stream(method)(sent[0], metadata=pairs, timeout=patience)
        else:
            call = channel.unary_unary(method)(sent[0], metadata=pairs, timeout=patience)
        got: list[bytes] = []
        try:
            if method.endswith(("Chat", "Stream")):
                async for each in call:
                    got.append(each)  # noqa: PERF401 (what came before an error counts)
            else:
                got.append(await call)
        except grpc.aio.AioRpcError:
            pass  # what it says is read below, as that of a call that went well
        return GrpcAnswer(
            code=cast("grpc.StatusCode", await call.code()),
            details=await call.details() or "",
            messages=tuple(got),
            headers=texts(await call.initial_metadata() or ()),
            trailers=texts(await call.trailing_metadata() or ()),
            seconds=time.monotonic() - began,
        )

    async def close(self) -> None:
        for each in self._channels.values():
            await each.close()
        self._channels.clear()

    def _channel(self, port: int, authority: str) -> grpc.aio.Channel:
        if (port, authority) not in self._channels:
            self._channels[port, authority] = grpc.aio.insecure_channel(
                f"{LOOPBACK}:{port}",
                options=(
                    ("grpc.default_authority", authority),
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.enable_retries", 0),
                    ("grpc.use_local_subchannel_pool", 1),
                ),
            )
        return self._channels[port, authority]


def texts(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Metadata as text; of a name that stands twice, both with a comma."""
    found: dict[str, str] = {}
    for name, value in metadata:
        text = value if isinstance(value, str) else value.hex()
        found[name] = f"{found[name]},{text}" if name in found else text
    return found
