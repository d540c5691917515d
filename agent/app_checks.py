"""The checks of `agent.app_probes`, made: the application is asked as the kubelet would have asked it.

It is asked at the pod's own address, from the address by which the rules of interception know the sidecar's last step: so an
application that listens there alone is reached, and one that listens on loopback alone is found wanting, as without a sidecar.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import grpc
import grpc.aio

from agent.app_probes import AppCheck, GrpcCheck, HttpCheck, TcpCheck
from agent.intercept.rules import Family

HEALTH: Final = "/grpc.health.v1.Health/Check"
"""https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""
SERVING: Final = b"\x08\x01"
"""A HealthCheckResponse, field 1 (status) of which is 1."""
REDIRECTS: Final = 10
"""As many as the kubelet follows."""
SHOWN: Final = 1024
"""Bytes of an answer's body that are passed on: the kubelet puts them into the pod's events."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is answered: a check has succeeded with a `status` from 200 to 399, for the kubelet as for us."""

    status: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class AppAddress:
    """Where the application is: `host`, called from `source` if that is not empty."""

    host: str = "127.0.0.1"
    source: str = ""

    @classmethod
    def of_pod(cls, address: str) -> AppAddress:
        """`address` is the pod's; empty: the application is asked on loopback."""
        if not address:
            return cls()
        found = ip_address(address)
        return cls(address, str((Family.IPV4 if found.version == 4 else Family.IPV6).passthrough))

    @property
    def local(self) -> tuple[str, int] | None:
        return (self.source, 0) if self.source else None

    @property
    def in_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


async def make(check: AppCheck, address: AppAddress, asked: Mapping[str, str]) -> Outcome:
    """`asked` are the headers of whoever asks, of which the application sees who it is. Raises nothing: what fails is an Outcome of 503."""
    try:
        async with asyncio.timeout(check.timeout):
            match check.way:
                case HttpCheck():
                    return await _http(check.way, address, asked)
                case TcpCheck(port):
                    async with _connected(address, port):
                        return Outcome(200)
                case GrpcCheck():
                    return await _grpc(check.way, address)
    except TimeoutError:
        return Outcome(503, f"no answer within {check.timeout:g} s")
    except (OSError, aiohttp.ClientError, grpc.aio.AioRpcError, ValueError) as error:
        return Outcome(503, _words(error))


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"


async def _http(check: HttpCheck, address: AppAddress, asked: Mapping[str, str]) -> Outcome:
    headers = {name: asked[name] for name in ("User-Agent", "Accept") if name in asked} | dict(check.headers)
    url = f"{check.scheme}://{address.in_url}:{check.port}/{check.path.removeprefix('/')}"
    connector = aiohttp.TCPConnector(ssl=_anybody(), local_addr=address.local, force_close=True)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        for _ in range(REDIRECTS):
            async with session.get(url, headers=headers, allow_redirects=False) as answer:
                where = answer.headers.get("Location")
                if not (300 <= answer.status < 400 and where):
                    body = await answer.content.read(SHOWN)
                    return Outcome(answer.status, body.decode(errors="replace"))
                url = urljoin(url, where)
                if urlsplit(url).hostname != address.host:
                    # The kubelet follows to nobody else, and is content.
                    return Outcome(200, f"redirected to {url[:SHOWN]}")
    return Outcome(503, f"more than {REDIRECTS} redirects")


def _anybody() -> ssl.SSLContext:
    """As the kubelet: that the application speaks TLS is checked, whose certificate it has is not."""
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # which reads no authorities: that takes longer than the check
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.asynccontextmanager
async def _connected(
    address: AppAddress, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address.host, port, local_addr=address.local)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # it may close before us, and has told all that it had to tell
            await writer.wait_closed()


async def _grpc(check: GrpcCheck, address: AppAddress) -> Outcome:
    async with _forwarded(address, check.port) as target, grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(HEALTH, request_serializer=bytes, response_deserializer=bytes)
        answer = await call(_asked(check.service), timeout=None)
    return Outcome(200) if answer == SERVING else Outcome(503, "the health service does not say SERVING")


def _asked(service: str) -> bytes:
    """A HealthCheckRequest: field 1 is the service's name, whose length is below 128 or takes two bytes."""
    name = service.encode()
    if not name:
        return b""
    length = bytes([len(name)]) if len(name) < 128 else bytes([len(name) & 0x7F | 0x80, len(name) >> 7])
    return b"\x0a" + length + name


@contextlib.asynccontextmanager
async def _forwarded(address: AppAddress, port: int) -> AsyncIterator[str]:
    """A target for gRPC, which cannot be told an address to call from: a socket from which each connection is passed on."""
    with TemporaryDirectory(prefix="meshwright-") as directory:
        path = Path(directory) / "app.sock"

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):  # the call says what came of it
                async with _connected(address, port) as (answers, questions), asyncio.TaskGroup() as group:
                    group.create_task(_pass_on(reader, questions))
                    group.create_task(_pass_on(answers, writer))
            writer.close()

        async with await asyncio.start_unix_server(forward, path):
            yield f"unix:{path}"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.close()
