"""Constant load on one port, in a process of its own: a request is due every 1/rate seconds, whether or not those before have answers.

Standard library only, and a file that runs by itself: `python load_process.py '<json of Order>'`. It says how far it is as a line of JSON every
50 ms, and ends, with a line of JSON of `report`, after `seconds` or when its standard input does; so it never outlives its test.
A kept connection that breaks is never tried again: every reset is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

TELL = 0.05
"""Seconds between two lines of progress."""
MOST_TOLD = 500
"""Failures that are told in words; all are counted."""


@dataclass(frozen=True, slots=True)
class Order:
    """`host` is the Host header. `seconds` None: until standard input ends. A kept connection that was idle for `idle` seconds is not used
    again, as well-behaved clients do: a server may close it at any time.
    """

    address: str
    port: int
    host: str
    path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    rate: float = 1000.0
    seconds: float | None = None
    connections: int = 64
    patience: float = 15.0
    idle: float = 15.0

    def request(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Broken(Exception):
    """The connection ended before the answer did."""


class Connection(asyncio.Protocol):
    """One request at a time. `usable`: open, and the peer keeps it; `idle_since`, by the clock of the loop."""

    def __init__(self) -> None:
        self.usable = True
        self.idle_since = 0.0
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, dict[str, str], bytes]]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        whole = parse(self._buffer)
        if whole is None:
            return
        status, headers, body, used = whole
        del self._buffer[:used]
        if headers.get("connection", "").lower() == "close":
            self.close()
        if self._answer is None or self._answer.done():
            self.close()
        else:
            self._answer.set_result((status, headers, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            said = f"after {len(self._buffer)} bytes of the answer" if self._buffer else "before any answer"
            self._answer.set_exception(
                Broken(f"connection {'reset' if exc else 'closed'} {said}: {exc or 'EOF'}")
            )

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()


def parse(buffer: bytearray) -> tuple[int, dict[str, str], bytes, int] | None:
    """Status, headers (lower case), body, and how many bytes the answer takes; None while it is not whole.

    An answer has a content-length, is chunked, or has no body: what Envoy sends over HTTP/1.1 on a connection that is kept.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = buffer[:end].decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    start = end + 4
    if status < 200:  # 100 and its like stand before the answer
        rest = parse(buffer[start:])
        return None if rest is None else (*rest[:3], start + rest[3])
    if "chunked" in headers.get("transfer-encoding", ""):
        body = bytearray()
        while True:
            line = buffer.find(b"\r\n", start)
            if line < 0:
                return None
            size = int(bytes(buffer[start:line]).split(b";")[0], 16)
            start = line + 2
            if len(buffer) < start + size + 2:
                return None
            if size == 0:
                return status, headers, bytes(body), start + 2
            body += buffer[start : start + size]
            start += size + 2
    size = int(headers.get("content-length", "0"))
    if len(buffer) < start + size:
        return None
    return status, headers, bytes(buffer[start : start + size]), start + size


class Load:
    def __init__(self, order: Order) -> None:
        self.order = order
        self._request = order.request()
        self._idle: deque[Connection] = deque()
        self._slots = asyncio.Semaphore(order.connections)
        self.sent = 0
        self.statuses: Counter[int] = Counter()
        self.workloads: Counter[str] = Counter()
        self.errors = 0
        self.failures: list[tuple[float, str]] = []
        self.latencies: list[float] = []
        self.opened = 0
        self._began = time.monotonic()

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        order, began = self.order, time.monotonic()
        self._began = began
        tasks: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            now = time.monotonic() - began
            if order.seconds is not None and now >= order.seconds:
                break
            while self.sent / order.rate <= now:
                task = asyncio.create_task(self._one(began + self.sent / order.rate))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                self.sent += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, self.sent / order.rate - now))
        took = time.monotonic() - began
        await asyncio.gather(*tasks)
        for each in self._idle:
            each.close()
        return {
            "seconds": took,
            "sent": self.sent,
            "statuses": self.statuses,
            "workloads": self.workloads,
            "errors": self.errors,
            "failures": self.failures,
            "latencies": [round(each, 6) for each in self.latencies],
            "connections": self.opened,
        }

    async def _one(self, due: float) -> None:
        async with self._slots:
            connection: Connection | None = None
            try:
                async with asyncio.timeout(self.order.patience):
                    connection = await self._connection()
                    status, headers, body = await connection.ask(self._request)
            except (OSError, Broken, TimeoutError) as error:
                self.errors += 1
                self._failed(f"{error!r}")
                if connection is not None:
                    connection.close()
                return
        self.latencies.append(time.monotonic() - due)
        self.statuses[status] += 1
        self.workloads[headers.get("x-workload", "")] += 1
        if not 200 <= status < 300:
            self._failed(f"{status} {body[:200].decode(errors='replace')}")
        if connection.usable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
            self._give_up()

    def _failed(self, text: str) -> None:
        if len(self.failures) < MOST_TOLD:
            self.failures.append((round(time.monotonic() - self._began, 3), text))

    def _give_up(self) -> None:
        """The one that is idle for the longest time stands first."""
        while self._idle and time.monotonic() - self._idle[0].idle_since > self.order.idle:
            self._idle.popleft().close()

    async def _connection(self) -> Connection:
        while self._idle:
            found = self._idle.pop()
            if found.usable:
                return found
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self.order.address, self.order.port)
        return made

    def progress(self) -> dict[str, Any]:
        failures = self.failures
        counts = {"sent": self.sent, "answered": sum(self.statuses.values()), "failed": len(failures)}
        return {**counts, "last": failures[-1][1] if failures else ""}


async def main(order: Order) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    load = Load(order)

    async def until_input_ends() -> None:
        await reader.read()
        stop.set()

    async def tell() -> None:
        while True:
            print(json.dumps(load.progress()), flush=True)
            await asyncio.sleep(TELL)

    watching, telling = asyncio.create_task(until_input_ends()), asyncio.create_task(tell())
    report = await load.run(stop)
    for task in (watching, telling):
        task.cancel()
    await asyncio.gather(watching, telling, return_exceptions=True)
    print(json.dumps({"report": report}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Order(**json.loads(sys.argv[1]))))
