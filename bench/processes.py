"""Processes that a measurement starts and ends, and what they answer and weigh."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LOOPBACK = "127.0.0.1"
PATIENCE = 180.0
"""Seconds that a server gets to start and a measurement to end."""


class BenchError(Exception):
    """A measurement that can't be had. `str()` says why, with the end of the log that tells more."""


@dataclass(slots=True)
class Process:
    """A running program and its log."""

    name: str
    log: pathlib.Path
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return f"the end of {self.log}:\n" + "\n".join(lines)


@contextlib.contextmanager
def running(name: str, log: pathlib.Path, *command: str) -> Iterator[Process]:
    """Run `command` for the length of the block; its output goes to `log`."""
    with log.open("wb") as output:
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield Process(name, log, popen)
    finally:
        popen.terminate()
        try:
            popen.wait(20)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def ask(port: int, method: str, path: str) -> tuple[int, bytes]:
    """One HTTP request on loopback, past any proxy settings of the environment."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask_json(process: Process, port: int, method: str, path: str) -> dict[str, Any]:
    try:
        status, body = ask(port, method, path)
    except OSError as error:
        raise BenchError(f"{process.name}: {method} {path}: {error}; {process.tail()}") from error
    if status != 200:
        raise BenchError(f"{process.name}: {method} {path}: {status} {body[:200]!r}; {process.tail()}")
    found: dict[str, Any] = json.loads(body)
    return found


def wait_until_answers(process: Process, port: int, path: str) -> None:
    """Until `path` answers 200."""
    deadline = time.monotonic() + PATIENCE
    last: object = None
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise BenchError(f"{process.name} ended with {process.popen.returncode}; {process.tail()}")
        try:
            status, body = ask(port, "GET", path)
        except OSError as error:
            last = error
        else:
            if status == 200:
                return
            last = f"{status} {body[:200]!r}"
        time.sleep(0.05)
    raise BenchError(f"{process.name} is not ready after {PATIENCE:.0f} s: {last}; {process.tail()}")


def wait_until_listens(process: Process, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise BenchError(f"{process.name} ended with {process.popen.returncode}; {process.tail()}")
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.02)
    raise BenchError(f"{process.name} does not listen on {port}; {process.tail()}")


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process and all its children, in bytes: proportional and resident set, and the sum of the resident peaks."""

    pss: int
    rss: int
    peak: int


def memory(pid: int) -> Memory:
    """From Linux's /proc: smaps_rollup and status (proc(5))."""
    pss = rss = peak = 0
    for each in _tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a child that has just ended
            rollup = _kilobytes(f"/proc/{each}/smaps_rollup")
            pss, rss = pss + rollup["Pss"], rss + rollup["Rss"]
            peak += _kilobytes(f"/proc/{each}/status")["VmHWM"]
    return Memory(pss, rss, peak)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living children so far."""
    ticks = 0
    for each in _tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = pathlib.Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / 100  # USER_HZ is 100 on every Linux of today


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for children in pathlib.Path(f"/proc/{each}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found


def _kilobytes(path: str) -> dict[str, int]:
    sizes = {}
    for line in pathlib.Path(path).read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes
