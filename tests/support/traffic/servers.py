"""The application servers of the mesh, all in the tests' own process, so that a test sees what each of them saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDictProxy

from tests.support.ports import LOOPBACK
from tests.support.traffic.behaviour import NORMAL, Behaviour, parse
from tests.support.traffic.members import Member

BEHAVE = "x-behave"
TRACE_HEADERS = ("traceparent", "tracestate", "b3", "x-b3-", "x-request-id", "x-datadog-")
KEPT = 65536
"""Bytes of a request's body that are kept; the rest is only counted."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the server saw it. `path` has the query, header names are in lower case, `size` and `body` are the body's;
    `at` is `time.monotonic()` when its head had come. `status` is what was answered, 0 where nothing was.
    """

    workload: str
    method: str
    path: str
    headers: dict[str, str]
    size: int
    body: bytes
    at: float
    status: int

    @property
    def caller(self) -> str:
        """The SPIFFE id that the sidecar verified; empty without one."""
        return caller(self.headers)


@dataclass(slots=True)
class Tries:
    """Tries of requests over all servers, by request id."""

    counts: Counter[str] = field(default_factory=Counter)

    def next(self, request: str) -> int:
        self.counts[request] += 1
        return self.counts[request]


class Server:
    """What all servers have in common: a record of requests, and settings."""

    def __init__(self, member: Member, tries: Tries) -> None:
        self.member = member
        self.requests: list[Seen] = []
        self.in_progress = 0
        """Requests that are being answered now."""
        self.most_in_progress = 0
        self.connections = 0
        """Connections that were opened since the last `reset`; of HTTP, those on which a request came."""
        self._tries = tries
        self._always: list[tuple[str, Behaviour]] = []
        self._served = 0

    @property
    def name(self) -> str:
        return self.member.name

    def behave(self, text: str, path: str = "") -> None:
        """From now on, for requests whose path begins with `path`, unless they say otherwise in their header. The latest counts."""
        self._always.insert(0, (path, parse(text)))

    def reset(self) -> None:
        """Behave normally, and forget what was seen."""
        self._always.clear()
        self.requests.clear()
        self._served = self.connections = 0
        self.most_in_progress = self.in_progress

    def behaviour(self, path: str, headers: Mapping[str, str]) -> Behaviour:
        if BEHAVE in headers:
            asked = parse(headers[BEHAVE])
            if not asked.only or self.name in asked.only:
                return asked
        return next((each for prefix, each in self._always if path.startswith(prefix)), NORMAL)

    def fails(self, behaviour: Behaviour, request: str) -> bool:
        """Whether this request is one of those that are to fail; counts it."""
        self._served += 1
        if behaviour.fail_first:
            return self._tries.next(request) <= behaviour.fail_first
        if behaviour.fail_every:
            return self._served % behaviour.fail_every == 0
        return False

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        self.in_progress += 1
        self.most_in_progress = max(self.most_in_progress, self.in_progress)
        try:
            yield
        finally:
            self.in_progress -= 1

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


class HttpServer(Server):
    """HTTP/1.1, with `tls` over TLS: says as JSON who it is and what it got, or does what it is asked to. A WebSocket echoes."""

    def __init__(self, member: Member, tries: Tries, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(member, tries)
        self._tls = tls
        self._runner: web.ServerRunner | None = None
        self._calls: aiohttp.ClientSession | None = None
        self._known: WeakSet[asyncio.BaseTransport] = WeakSet()

    async def start(self) -> None:
        self._calls = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        port = self.member.app_ports["http"]
        await web.TCPSite(self._runner, LOOPBACK, port, ssl_context=self._tls).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._calls is not None:
            await self._calls.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None and request.transport not in self._known:
            self._known.add(request.transport)
            self.connections += 1
        with self.answering():
            return await self._answer(request)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        path, headers = request.raw_path, _joined(request.headers)
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._echo(request, path, headers, began)
        kept, size = b"", 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            kept += chunk[: KEPT - len(kept)]

        def saw(status: int) -> None:
            self.requests.append(Seen(self.name, request.method, path, headers, size, kept, began, status))

        try:
            asked = self.behaviour(path, headers)
        except ValueError as error:
            saw(500)
            return web.Response(status=500, text=f"{error}\n")
        failing = self.fails(asked, headers.get("x-request-id", path))
        wait = asked.delay
        if asked.hang:
            saw(0)
            wait = 3600.0
        if wait:
            await _while_connected(request, wait)
        status = asked.status if asked.status is not None else 200
        if asked.fail_first or asked.fail_every:
            status = (asked.status or 503) if failing else 200
        if asked.reset and (failing or not (asked.fail_first or asked.fail_every)):
            saw(0)
            return _broken(request)
        told: dict[str, Any] = {
            **identify(self.member),
            "method": request.method,
            "path": path,
            "headers": headers,
            "size": size,
            "caller": caller(headers),
        }
        if asked.call is not None:
            status, told["called"] = await self._call(asked.call, headers)
        saw(status)
        body = json.dumps(told).encode() if asked.body is None else text_of(asked.body)
        kind = asked.content_type or ("application/json" if asked.body is None else "text/plain")
        answer_headers = [("content-type", kind), ("x-workload", self.name), *asked.headers]
        if asked.slow_body or asked.reset_body:
            return await self._slowly(request, status, answer_headers, body, asked)
        answer = web.Response(status=status, body=body)
        answer.headers.clear()
        for name, value in answer_headers:
            answer.headers.add(name, value)
        return answer

    async def _slowly(
        self,
        request: web.BaseRequest,
        status: int,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        asked: Behaviour,
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=status)
        for name, value in headers:
            answer.headers.add(name, value)
        await answer.prepare(request)
        pieces = 10
        step = max(1, len(body) // pieces)
        # Who asked may have given up meanwhile: that is what a test of timeouts is about.
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(body), step):
                await answer.write(body[start : start + step])
                if asked.reset_body and start >= step:
                    return _broken(request, answer)
                await asyncio.sleep(asked.slow_body / pieces)
            await answer.write_eof()
        return answer

    async def _call(self, service: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """The next service of a chain, by the own sidecar: what an application in a mesh does."""
        assert self._calls is not None
        handed_on = {name: value for name, value in headers.items() if name.startswith(TRACE_HEADERS)}
        host, _, path = service.partition("/")
        handed_on["host"] = host if "." in host else f"{host}.mesh"
        url = f"http://{LOOPBACK}:{self.member.outbound_port}/{path}"
        try:
            async with self._calls.get(url, headers=handed_on) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if answer.content_type == "application/json" else text
        except aiohttp.ClientError as error:
            return 502, repr(error)

    async def _echo(
        self, request: web.BaseRequest, path: str, headers: dict[str, str], began: float
    ) -> web.StreamResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        self.requests.append(Seen(self.name, request.method, path, headers, 0, b"", began, 101))
        await stream.send_json(identify(self.member))
        async for message in stream:
            if message.type is WSMsgType.TEXT:
                await stream.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await stream.send_bytes(message.data)
        return stream


def identify(member: Member) -> dict[str, Any]:
    """Who answers: what is in every answer."""
    return {
        "workload": member.name,
        "service": member.service.key.name,
        "namespace": member.key.namespace,
        "labels": member.labels,
        "locality": f"{member.region}/{member.zone}",
    }


def caller(headers: Mapping[str, str]) -> str:
    """The SPIFFE id in x-forwarded-client-cert."""
    for part in headers.get("x-forwarded-client-cert", "").replace(",", ";").split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "uri":
            return value.strip('"')
    return ""


def _joined(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """By name in lower case; of a header that stands several times, all values (RFC 9110, section 5.3)."""
    return {name.lower(): ",".join(headers.getall(name)) for name in headers}


def text_of(size: int) -> bytes:
    """So many bytes that compress well."""
    return (b"the quick brown fox jumps over the lazy dog\n" * (size // 44 + 1))[:size]


async def _while_connected(request: web.BaseRequest, wait: float) -> None:
    """Wait; not longer than there is somebody to answer to, so that nothing is left over when a test ends."""
    end = time.monotonic() + wait
    # No event tells of a connection that is lost here.
    while (left := end - time.monotonic()) > 0 and request.transport is not None:  # noqa: ASYNC110
        await asyncio.sleep(min(left, 0.05))


def _broken(request: web.BaseRequest, answer: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection by RST."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return answer or web.Response(status=500)
