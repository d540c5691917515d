"""A mesh of real Envoys, without a control plane, to hold explanations against: one caller, those that serve, and what each answer tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envoy import packing
from envoy.render import Rendered
from explain.question import Question
from mesh.names import Key
from mesh.state import MeshState
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from tests.support.builders import TRUST_DOMAIN
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import envoy, rendered
from tests.support.ports import LOOPBACK

CLUSTER = "x-told-cluster"
"""In which the caller's sidecar says where it sent a request."""


@dataclass(frozen=True, slots=True)
class Told:
    """`cluster`: where the caller's sidecar sent it; `workload` and `arrived`: what answered, and the request as it got there. Empty: nowhere."""

    status: int
    cluster: str = ""
    workload: str = ""
    arrived: str = ""
    location: str = ""
    body: str = ""


@contextlib.asynccontextmanager
async def proxies(
    folder: Path, state: MeshState, asking: Sequence[str], serving: Iterable[str]
) -> AsyncIterator[None]:
    """A proxy for each. Those that are asked by the test tell of clusters."""
    authority = TestAuthority()
    async with contextlib.AsyncExitStack() as stack:
        for name in (*asking, *serving):
            workload = state.workloads[Key.parse(name)]
            secrets = authority.secrets(workload.identity(TRUST_DOMAIN).uri)
            resources = rendered(state, str(workload.key))
            given = tuple(_telling(resources)) if name in asking else resources
            await stack.enter_async_context(envoy(folder, name, given, secrets))
        yield


def _telling(resources: Iterable[Rendered]) -> Iterator[Rendered]:
    for each in resources:
        if each.type_url == packing.RDS:
            routes = RouteConfiguration.FromString(each.body)
            added = routes.response_headers_to_add.add()
            added.header.key, added.header.value = CLUSTER, "%UPSTREAM_CLUSTER%"
            yield replace(each, body=routes.SerializeToString(deterministic=True))
        else:
            yield each


@contextlib.asynccontextmanager
async def application(name: str, port: int) -> AsyncIterator[None]:
    """Answers who it is, and the request as it got it; raw, so that nothing is tidied up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                headers = dict(line.lower().partition(": ")[::2] for line in lines if line)
                await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = first.split(" ")
                body = json.dumps({"workload": name, "arrived": f"{method} {headers['host']}{path}"}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, port)
    async with server:
        yield


async def ask(port: int, question: Question, token: str) -> Told:
    """Send the very request of `question` to the caller's sidecar, with `token`, if it is not empty."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        lines = [
            f"{question.method} {question.path} HTTP/1.1",
            f"host: {question.authority}",
            *(f"{name}: {value}" for name, value in question.headers),
            *((f"authorization: Bearer {token}",) if token else ()),
            "content-length: 0",
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        body = await asyncio.wait_for(reader.readexactly(int(headers.get("content-length", "0"))), 30)
    finally:
        writer.close()
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        found = json.loads(body)
    return Told(
        int(status.split(" ")[1]),
        headers.get(CLUSTER, "").removeprefix("-"),
        str(found.get("workload", "")),
        str(found.get("arrived", "")),
        headers.get("location", ""),
        body.decode("latin-1"),
    )
