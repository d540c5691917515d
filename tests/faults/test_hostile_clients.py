"""Hundreds of simulated proxies at once, hostile ones among them, beside ten real sidecars, which notice nothing."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.crowds import a_crowd
from tests.support.mesh import Instance, Mesh, a_document
from tests.support.processes import Process, eventually

SIDECARS = 10
SERVICES = 100
ENDPOINTS = 5
TARGET = "target"
MIB = 1024


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("crowd", "changes"),
    [
        pytest.param(
            {"honest": 250, "silent": 100, "deaf": 50, "nacking": 70, "garbage": 30}, 10, id="short"
        ),
        pytest.param(
            {"honest": 400, "silent": 200, "deaf": 200, "nacking": 150, "garbage": 50},
            300,
            id="long",
            marks=[pytest.mark.heavy, pytest.mark.timeout(1200)],
        ),
    ],
)
async def test_others_are_not_delayed_and_memory_stays_bounded(
    mesh: Mesh, tmp_path: Path, crowd: dict[str, int], changes: int
) -> None:
    sidecars = [Instance("caller", f"caller-{number}", uses=None) for number in range(SIDECARS)]
    write_documents(mesh, sidecars, sum(crowd.values()))
    server = await mesh.serve()
    await asyncio.gather(*(mesh.sidecar(each) for each in sidecars))
    flips = Flips(mesh, sidecars)
    alone = [await flips.next() for _ in range(5)]
    quiet = resident(server)

    honest = {"honest": crowd["honest"]}
    hostile = {kind: count for kind, count in crowd.items() if kind != "honest"}
    async with a_crowd(tmp_path, mesh, "honest", honest) as friends:
        async with a_crowd(tmp_path, mesh, "hostile", hostile, first=crowd["honest"]) as foes:
            storm: list[float] = []
            peak = quiet
            while not (settled(friends, honest) and settled(foes, hostile)):
                storm.append(await flips.next())
                peak = max(peak, resident(server))
                assert friends.running(), friends.tail()
                assert foes.running(), foes.tail()
                assert sum(storm) < 60, (show(storm), friends.tail(2), foes.tail(2))
            before = resident(server)
            among = []
            for _ in range(changes):
                among.append(await flips.next())
                peak = max(peak, resident(server))
            began = time.monotonic()
            status = await mesh.status()
            answered_in = time.monotonic() - began
            after = resident(server)

        async def only_friends() -> bool:
            return len((await mesh.status()).proxies) == SIDECARS + honest["honest"]

        await eventually(only_friends, "the hostile ones are forgotten", server)
        without = [await flips.next() for _ in range(10)]

    figures = (
        f"a change reaches {SIDECARS} sidecars in {show(alone)} alone, {show(without)} beside {honest}, {show(among)} with {hostile} as well, "
        f"{show(storm)} while all connect; RSS {quiet // MIB} MiB alone, {peak // MIB} at most, {before // MIB} and {after // MIB} before and "
        f"after {changes} changes; status took {answered_in:.2f} s; {last(foes)}"
    )
    print(figures)
    assert len(status.proxies) >= SIDECARS + sum(crowd.values()) - crowd["garbage"], figures
    real = [proxy for proxy in status.proxies if proxy.proxy.startswith("default/caller")]
    assert len(real) == SIDECARS
    assert all(kind.refused is None for proxy in real for kind in proxy.types)
    assert any(kind.refused for proxy in status.proxies for kind in proxy.types), "who refuses is shown"
    assert statistics.median(among) < 3 * statistics.median(without) + 0.2, figures
    assert max(storm) < 5.0, figures
    assert peak - quiet < 300 * MIB, figures
    assert after - before < 40 * MIB, figures
    assert answered_in < 5, figures

    async def forgotten() -> bool:
        return len((await mesh.status()).proxies) == SIDECARS

    await eventually(forgotten, "the crowd is forgotten", server)
    assert await flips.next() < 4 * max(alone) + 0.5, figures


class Flips:
    """Changes of one endpoint; each is timed until all sidecars have it."""

    def __init__(self, mesh: Mesh, sidecars: list[Instance]) -> None:
        self._mesh, self._sidecars = mesh, sidecars
        self._number = 0

    async def next(self) -> float:
        """Replace the endpoint of TARGET; the seconds until the last sidecar sends there."""
        self._number += 1
        port = 20_000 + self._number
        began = time.monotonic()
        write_target(self._mesh, port)
        await asyncio.gather(*(self._has(each, f"127.0.0.1:{port}") for each in self._sidecars))
        return time.monotonic() - began

    async def _has(self, sidecar: Instance, address: str) -> None:
        async def seen() -> bool:
            found = await self._mesh.get(
                f"http://127.0.0.1:{sidecar.admin_port}/clusters?filter=^default/{TARGET}:80$"
            )
            return address in found[1]

        await eventually(seen, f"{sidecar.name} has {address}")


def write_documents(mesh: Mesh, sidecars: list[Instance], crowd: int) -> None:
    for number in range(SERVICES):
        name = f"svc-{number}"
        mesh.write(
            f"{name}.yaml", a_service(name), *(an_instance(name, i, 10_000 + i) for i in range(ENDPOINTS))
        )
    mesh.write("caller.yaml", a_service("caller"), *(each.document() for each in sidecars))
    mesh.write(
        "crowd.yaml", *(a_document("Workload", f"crowd-{n}", {"address": "127.0.0.1"}) for n in range(crowd))
    )
    write_target(mesh, 20_000)


def write_target(mesh: Mesh, port: int) -> None:
    mesh.write(f"{TARGET}.yaml", a_service(TARGET), an_instance(TARGET, 0, port))


def a_service(name: str) -> dict[str, Any]:
    return a_document("Service", name, {"ports": [{"name": "http", "port": 80, "protocol": "http"}]})


def an_instance(service: str, number: int, port: int) -> dict[str, Any]:
    spec = {"services": [service], "address": "127.0.0.1", "ports": [{"name": "http", "app": port}]}
    return a_document("Workload", f"{service}-{number}", spec)


def last(process: Process) -> dict[str, dict[str, int]]:
    """The last whole line of the crowd's report."""
    lines = [line for line in process.text().split("\n")[:-1] if line.startswith("{")]
    found: dict[str, dict[str, int]] = json.loads(lines[-1]) if lines else {"answered": {}, "ended": {}}
    return found


def settled(process: Process, counts: dict[str, int]) -> bool:
    """Whether all that can be answered were."""
    said = last(process)
    return all(
        said["ended" if kind == "garbage" else "answered"].get(kind, 0) >= count
        for kind, count in counts.items()
        if kind != "deaf"
    )


def resident(process: Process) -> int:
    """KiB of memory that the process has."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def show(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms (at most {max(seconds) * 1000:.0f})"
