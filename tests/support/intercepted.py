"""A whole mesh on two hosts whose traffic is intercepted: `meshwright serve`, `meshwright proxy` and `meshwright intercept`, all real,
beside applications that know nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from api.shapes.status import Status
from ca.times import system_clock
from ca.tokens import TokenStore
from meshwright.client import get_status
from meshwright.errors import UnreachableError
from tests.support import binaries
from tests.support.intercepting import APP, ENVOY
from tests.support.namespaces import Host
from tests.support.processes import Process, eventually, meshwright, running

ADMIN, XDS, JOIN = 15000, 15010, 15011
PASSED = ("--exclude-inbound-port", str(XDS), "--exclude-inbound-port", str(JOIN))
"""The control plane runs on one of the hosts, and protects its ports itself."""

WEB = """
import http.server, json, socket, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"peer": self.client_address[0], "here": self.request.getsockname()[0], "path": self.path}
        said |= {"host": self.headers["host"], "xfcc": self.headers.get("x-forwarded-client-cert")}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((sys.argv[2], int(sys.argv[1])), Answer).serve_forever()
"""
"""It listens on its host's own address alone, as an application may, and says what it saw."""

GREETER = """
import socketserver, sys

class Greet(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"hello {self.client_address[0]}\\n".encode())
        for line in self.rfile:
            self.wfile.write(line)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

Server((sys.argv[2], int(sys.argv[1])), Greet).serve_forever()
"""
"""It speaks first, then it echoes lines."""

RESOLVER = """
import socket, sys

answer = socket.inet_aton(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind((sys.argv[1], 53))
    while True:
        query, asker = server.recvfrom(512)
        end = query.index(b"\\0", 12) + 5
        known = query[12:end].startswith(b"\\7outside\\7example\\0\\0\\1")
        head = query[:2] + (b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" if known else b"\\x81\\x83\\0\\1\\0\\0\\0\\0\\0\\0")
        server.sendto(head + query[12:end] + (b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + answer if known else b""), asker)
"""
"""A server of names, which knows outside.example: itself."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """The control plane runs on `b`."""

    folder: Path
    a: Host
    b: Host

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self, file: str, *documents: Mapping[str, Any]) -> None:
        """Replace a file of documents whole, as an editor does."""
        folder = self.folder / "documents"
        folder.mkdir(exist_ok=True)
        new = folder / f".{file}.tmp"
        new.write_text(yaml.safe_dump_all([dict(each) for each in documents]))
        new.rename(folder / file)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Process]:
        """The control plane, ready."""
        command = self.b.command(
            *meshwright("serve", "--data-dir", str(self.data), "--documents", str(self.folder / "documents")),
            *("--xds-address", f"{self.b.ipv4}:{XDS}", "--join-address", f"{self.b.ipv4}:{JOIN}"),
            *("--admin-address", "127.0.0.1:15020"),
        )
        async with running("serve", self.folder, *command) as process:

            async def ready() -> bool:
                return (await self.status()).ready

            await eventually(ready, "the control plane is ready", process)
            yield process

    async def status(self) -> Status:
        try:
            return await get_status(self.data)
        except UnreachableError as error:
            raise AssertionError(str(error)) from error

    @contextlib.asynccontextmanager
    async def sidecar(self, host: Host, workload: str, account: str) -> AsyncIterator[Process]:
        """`meshwright proxy` on `host`, live, as a user of its own."""
        # That user may open everything (see `Host.command`); but who asks beforehand whether it may, is told otherwise.
        with tempfile.TemporaryDirectory() as folder:
            public = Path(folder)
            public.chmod(0o755)
            (public / "roots.pem").write_bytes((self.data / "roots.pem").read_bytes())
            envoy = public / "envoy"
            envoy.write_text(f'#!/bin/sh\nexec {binaries.envoy()} "$@"\n')
            envoy.chmod(0o755)
            async with self._sidecar(host, workload, account, public) as process:
                yield process

    @contextlib.asynccontextmanager
    async def _sidecar(self, host: Host, workload: str, account: str, public: Path) -> AsyncIterator[Process]:
        token = await self._token(workload, account)
        command = host.command(
            *meshwright("proxy", "--workload", f"default/{workload}"),
            *("--control-plane", f"{self.b.ipv4}:{XDS}", "--join", f"{self.b.ipv4}:{JOIN}"),
            *("--bundle", str(public / "roots.pem"), "--data-dir", str(self.folder / f"{workload}-agent")),
            *("--envoy", str(public / "envoy"), "--drain-time", "1s", "--concurrency", "2"),
            *("--admin-port", str(ADMIN)),
            user=ENVOY,
        )
        env = {**os.environ, "MESHWRIGHT_TOKEN": token}
        async with running(f"{workload}-sidecar", self.folder, *command, env=env) as process:

            async def live() -> bool:
                return host.attempt("curl", "-sf", f"http://127.0.0.1:{ADMIN}/ready").stdout.startswith(
                    "LIVE"
                )

            await eventually(live, f"the sidecar of {workload} is live", process)
            yield process

    async def _token(self, workload: str, account: str) -> str:
        """As `meshwright token create` makes it, without its interpreter."""
        store = TokenStore(self.data)
        return await asyncio.to_thread(
            store.create, "default", account, now=system_clock(), workload=workload
        )


@contextlib.asynccontextmanager
async def program(folder: Path, name: str, host: Host, code: str, port: int) -> AsyncIterator[None]:
    """WEB or GREETER at the host's own address."""
    command = host.command(sys.executable, "-c", code, str(port), host.ipv4, user=APP)
    async with running(name, folder, *command) as process:

        async def listens() -> bool:
            return f"{host.ipv4}:{port} " in host.run(
                "ss", "--listening", "--tcp", "--numeric", "--no-header"
            )

        await eventually(listens, f"{name} listens on {port}", process)
        yield


@contextlib.asynccontextmanager
async def resolver(folder: Path, host: Host) -> AsyncIterator[None]:
    async with running(
        "resolver", folder, *host.command(sys.executable, "-c", RESOLVER, host.ipv4)
    ) as process:

        async def listens() -> bool:
            return f"{host.ipv4}:53 " in host.run("ss", "--listening", "--udp", "--numeric", "--no-header")

        await eventually(listens, "the server of names listens", process)
        yield


async def get(host: Host, url: str, *options: str, user: int = APP) -> tuple[int, Any]:
    """What a program on `host` gets from `url`, which is curl and knows nothing: status and JSON or text; status 0 for no answer."""
    curl = ("curl", "--silent", "--noproxy", "*", "--max-time", "5", "--write-out", "\n%{http_code}")
    ran = await asyncio.to_thread(host.attempt, *curl, *options, url, user=user)
    text, _, status = ran.stdout.rpartition("\n")
    with contextlib.suppress(json.JSONDecodeError):
        return int(status), json.loads(text)
    return int(status), text
