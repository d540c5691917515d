"""The line between a client and an API server, which a test may cut, slow down or mend. TLS goes through as it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kubernetes.cluster import Cluster
from tests.support.ports import free_port


@dataclass(slots=True)
class Line:
    """`delay`: seconds that each piece of what the server says is held back. While it is cut, nobody gets through."""

    host: str
    port: int
    local: int
    delay: float = 0.0
    whole: bool = True
    taken: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Connections break, and new ones are closed at once."""
        self.whole = False
        for each in self._open:
            each.transport.abort()

    def mend(self) -> None:
        self.whole = True

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        if not self.whole:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back, slow=False))
                group.create_task(self._pass(there, writer, slow=True))
        finally:
            self._open -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                if slow and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def a_line(cluster: Cluster) -> AsyncIterator[Line]:
    """To the API server of `cluster`."""
    host, _, port = cluster.api_server.removeprefix("https://").rpartition(":")
    line = Line(host, int(port), free_port())
    server = await asyncio.start_server(line.take, "127.0.0.1", line.local)
    try:
        yield line
    finally:
        line.cut()
        server.close()


async def kubeconfig(cluster: Cluster, line: Line, path: Path, token: str | None = None) -> Path:
    """A kubeconfig at `path` of `cluster` over `line`: as its administrator, or by a token."""
    view = json.loads(await cluster.run("config", "view", "--raw", "--output=json"))
    view["clusters"][0]["cluster"] |= {
        "server": f"https://127.0.0.1:{line.local}",
        "tls-server-name": line.host,
    }
    if token is not None:
        view["users"][0]["user"] = {"token": token}
    path.write_text(json.dumps(view))
    return path
