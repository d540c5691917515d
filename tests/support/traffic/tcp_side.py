"""TCP of the traffic tests: an echo of lines, on one port after the client has spoken, on another with a greeting first.

Each line comes back as `<workload> <line>`. On the port `greet` the server says `hello from <workload>` when a connection opens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator

from tests.support.ports import LOOPBACK
from tests.support.traffic.members import Member, ServicePort
from tests.support.traffic.servers import Seen, Server, Tries


class TcpServer(Server):
    """Behaviours: delay (before each line is answered), reset (on the first line, or at once on `greet`). A `Seen` is a line, `path` the
    port's name, `body` the line.
    """

    def __init__(self, member: Member, tries: Tries) -> None:
        super().__init__(member, tries)
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for port in self.member.service.ports:
            self._servers.append(await self._listen(port))

    async def _listen(self, port: ServicePort) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open.add(task)
            self.connections += 1
            # The peer may go at any time: that ends the connection here too.
            try:
                with contextlib.suppress(ConnectionError), self.answering():
                    await self._talk(port, reader, writer)
            finally:
                self._open.discard(task)
                writer.close()

        return await asyncio.start_server(connected, LOOPBACK, self.member.app_ports[port.name])

    async def stop(self) -> None:
        for each in self._servers:
            each.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _talk(
        self, port: ServicePort, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if port.protocol == "greet":
            if self.behaviour(port.name, {}).reset:
                return _break(writer)
            writer.write(f"hello from {self.name}\n".encode())
            await writer.drain()
        while line := await reader.readline():
            asked = self.behaviour(port.name, {})
            self.requests.append(
                Seen(self.name, "TCP", port.name, {}, len(line), line.rstrip(b"\n"), time.monotonic(), 0)
            )
            if asked.reset:
                return _break(writer)
            if asked.delay:
                await asyncio.sleep(asked.delay)
            writer.write(f"{self.name} ".encode() + line)
            await writer.drain()
        return None


class TcpConnection:
    """A caller's connection. `read` gives "" at its end; a reset raises ConnectionError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, patience: float = 5.0) -> str:
        """One line. TimeoutError if there is none within `patience` seconds."""
        return (await asyncio.wait_for(self._reader.readline(), patience)).decode().rstrip("\n")

    async def ask(self, line: str) -> str:
        """Say a line and read one."""
        self._writer.write(f"{line}\n".encode())
        await self._writer.drain()
        return await self.read()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[TcpConnection]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield TcpConnection(reader, writer)
    finally:
        writer.close()
        # It may be broken already, which the test has seen.
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _break(writer: asyncio.StreamWriter) -> None:
    """Close by RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
