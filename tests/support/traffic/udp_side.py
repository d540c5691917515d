"""UDP of the traffic tests: an echo of datagrams, and clients of which each has a port of its own.

Each datagram comes back as `<name> <datagram>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator
from typing import cast

from tests.support.ports import LOOPBACK

QUIET = 0.5
"""Seconds without an answer after which there will be none. On one machine an answer takes a millisecond."""

AT_ONCE = 100
"""Datagrams on their way: a socket of Linux holds about 270 small ones by default, and drops the rest."""


class Echo(asyncio.DatagramProtocol):
    """What answers, at `port`."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self.name.encode() + b" " + data, addr)


class Client(asyncio.DatagramProtocol):
    """One port, from which datagrams are sent to one address."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        del addr
        self.answers.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: told by ICMP, and to be seen by there being no answer."""

    async def ask(self, data: bytes = b"ping") -> bytes:
        """The answer; empty if there is none."""
        self._transport.sendto(data)
        try:
            return await asyncio.wait_for(self.answers.get(), QUIET)
        except TimeoutError:
            return b""


@contextlib.asynccontextmanager
async def echoes(**ports: int) -> AsyncIterator[dict[str, Echo]]:
    """A server of each name on its port."""
    loop, made = asyncio.get_running_loop(), {name: Echo(name, port) for name, port in ports.items()}
    async with contextlib.AsyncExitStack() as stack:
        for each in made.values():
            transport, _ = await loop.create_datagram_endpoint(
                functools.partial(_same, each), (LOOPBACK, each.port)
            )
            stack.callback(transport.close)
        yield made


def _same(echo: Echo) -> Echo:
    return echo


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(
        Client, remote_addr=(LOOPBACK, port)
    )
    try:
        yield made
    finally:
        transport.close()


async def who_answers(port: int, n: int) -> Counter[str]:
    """By the server's name, for `n` clients; empty where none did."""
    found: Counter[str] = Counter()
    for first in range(0, n, AT_ONCE):
        async with contextlib.AsyncExitStack() as stack:
            asking = [await stack.enter_async_context(client(port)) for _ in range(min(AT_ONCE, n - first))]
            answers = await asyncio.gather(*(each.ask() for each in asking))
        found.update(each.partition(b" ")[0].decode() for each in answers)
    return found
