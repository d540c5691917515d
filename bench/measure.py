"""One run: a fresh server, a fresh fleet of simulated proxies, and everything that is measured of them."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.processes import (
    LOOPBACK,
    BenchError,
    Memory,
    Process,
    ask_json,
    cpu_seconds,
    free_ports,
    memory,
    running,
    wait_until_answers,
)
from bench.shape import Shape
from bench.sides import Server, Side, settle


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured. Times in milliseconds, of the last proxy; sizes in bytes."""

    side: str
    mode: str
    cold_start: float
    cold_start_bytes: int
    cold_start_cpu: float
    memory: Memory
    endpoint_replaced: tuple[float, ...]
    service_added: tuple[float, ...]
    service_routed: tuple[float, ...]
    update_bytes: int
    reconnect_bytes: int
    reconnect_sent_bytes: int
    after_reconnect: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each change is made in one run, and the seconds that a server gets to calm down before it is weighed."""

    shape: Shape
    replacements: int
    additions: int
    parse: str = "each"
    settle: float = 1.0


def measure(side: Side, mode: str, plan: Plan, xdsload: pathlib.Path) -> Run:
    """BenchError if a proxy did not get there."""
    with tempfile.TemporaryDirectory(prefix="meshwright-bench-") as name:
        folder = pathlib.Path(name)
        with side.serving(folder, plan.shape) as server:
            idle = cpu_seconds(server.process.pid)
            with _fleet(folder, server, mode, plan, xdsload) as fleet:
                return _measured(side, mode, plan, fleet, idle)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The load generator."""

    process: Process
    port: int
    server: Server

    def ask(self, method: str, path: str) -> dict[str, Any]:
        return ask_json(self.process, self.port, method, path)

    def all_of(self, answer: dict[str, Any]) -> float:
        """The last proxy's time; BenchError unless all got there."""
        if answer["reached"] != answer["proxies"]:
            raise BenchError(
                f"{self.server.process.name}: {answer['reached']} of {answer['proxies']} proxies got there; "
                f"{self.ask('GET', '/stats')}; {self.server.process.tail()}"
            )
        return float(answer["max_ms"])

    def received(self) -> int:
        return int(self.ask("GET", "/stats")["received_bytes"])


@contextlib.contextmanager
def _fleet(
    folder: pathlib.Path, server: Server, mode: str, plan: Plan, xdsload: pathlib.Path
) -> Iterator[Fleet]:
    (port,) = free_ports(1)
    command = [
        str(xdsload),
        "-addr",
        f"{LOOPBACK}:{server.xds_port}",
        "-n",
        str(plan.shape.proxies),
        "-mode",
        mode,
    ]
    command += ["-node", server.node, "-http", f"{LOOPBACK}:{port}"]
    command += ["-parse", plan.parse]
    if server.tls:
        command += ["-ca", str(server.tls.bundle), "-server-name", server.tls.server_name]
        command += ["-cert", server.tls.client[0], "-key", server.tls.client[1]]
    with running("xdsload", folder / "xdsload.log", *command) as process:
        wait_until_answers(process, port, "/stats")
        yield Fleet(process, port, server)


def _measured(side: Side, mode: str, plan: Plan, fleet: Fleet, idle_cpu: float) -> Run:
    server = fleet.server
    pid = server.process.pid
    cold_start = fleet.all_of(fleet.ask("GET", "/ready"))
    cpu = cpu_seconds(pid) - idle_cpu
    cold_bytes = fleet.received()
    settle(plan.settle)
    weight = memory(pid)
    fresh = (f"10.250.{number // 250}.{number % 250 + 1}:8080" for number in range(10_000))

    before = fleet.received()
    replaced = []
    for _ in range(plan.replacements):
        endpoint = next(fresh)
        change = server.replace(endpoint)
        replaced.append(fleet.all_of(_timed(fleet, f"endpoint={endpoint}", change)))
    update_bytes = (fleet.received() - before) // max(plan.replacements, 1)

    added, routed = [], []
    for number in range(plan.shape.services, plan.shape.services + plan.additions):
        endpoint = next(fresh)
        change = server.add(endpoint)
        answer = _timed(fleet, f"endpoint={endpoint}&cluster={server.cluster(number)}", change)
        added.append(fleet.all_of(answer))
        routed.append(fleet.all_of(answer["routed"]))

    settle(plan.settle)
    again = fleet.ask("POST", f"/reconnect?quiet={2 * plan.settle}s")
    if again["reopened"] < plan.shape.proxies:
        raise BenchError(f"{side.name}: {again['reopened']} streams came back; {server.process.tail()}")
    endpoint = next(fresh)  # that it arrives everywhere shows that all proxies are served again
    after = fleet.all_of(_timed(fleet, f"endpoint={endpoint}", server.replace(endpoint)))
    return Run(
        side=side.name,
        mode=mode,
        cold_start=cold_start,
        cold_start_bytes=cold_bytes,
        cold_start_cpu=cpu,
        memory=weight,
        endpoint_replaced=tuple(replaced),
        service_added=tuple(added),
        service_routed=tuple(routed),
        update_bytes=update_bytes,
        reconnect_bytes=int(again["received_bytes"]),
        reconnect_sent_bytes=int(again["sent_bytes"]),
        after_reconnect=after,
    )


def _timed(fleet: Fleet, expected: str, change: Callable[[], object]) -> dict[str, Any]:
    """Make the change and wait for the last proxy; the clock, which both processes share, starts just before the change."""
    fleet.ask("POST", f"/expect?{expected}")
    since = time.time_ns()
    change()
    return fleet.ask("GET", f"/wait?since={since}")
