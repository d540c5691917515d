"""The tests' side of `load_process`: start it, wait for how far it is, and read what it has to say."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.processes import PATIENCE
from tests.support.traffic.load_process import Order

PROGRAM = Path(__file__).with_name("load_process.py")
LINE = 2**26
"""Bytes: the longest line, the report with the latency of every request."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of every request. `errors` had no whole answer (reset, closed, timed out); `failures` are those and all answers but
    2xx, each with the seconds since the start. `latencies` are in seconds, from when a request was due. `connections` were opened.
    """

    seconds: float
    sent: int
    statuses: Counter[int]
    workloads: Counter[str]
    errors: int
    failures: list[tuple[float, str]]
    latencies: list[float] = field(repr=False)
    connections: int

    @classmethod
    def read(cls, told: dict[str, Any]) -> Self:
        statuses = Counter({int(status): count for status, count in told["statuses"].items()})
        failures = [(at, text) for at, text in told["failures"]]
        known = {**told, "statuses": statuses, "workloads": Counter(told["workloads"]), "failures": failures}
        return cls(**known)

    @property
    def rate(self) -> float:
        """Requests a second that were really sent."""
        return self.sent / self.seconds

    def latency(self, share: float) -> float:
        """The seconds that this share of the answers took at most: `latency(0.99)`."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Load:
    """An async context manager: load as long as its block lasts. `report` is there after it."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._report: Report | None = None
        self._progress: dict[str, Any] = {"sent": 0, "answered": 0, "failed": 0, "last": ""}
        self._changed = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), json.dumps(dataclasses.asdict(self._order))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE,
        )
        self._reading = asyncio.create_task(self._read(), name="load")
        await self.more(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reading is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._reading), self._order.patience + PATIENCE)
        finally:
            if self._process.returncode is None and not self._reading.done():
                self._process.kill()
            await self._reading
            await self._process.wait()

    async def done(self) -> Report:
        """Return when the order's `seconds` are over."""
        assert self._reading is not None
        await self._reading
        return self.report

    async def more(self, count: int) -> None:
        """Return when `count` further requests have an answer or have failed."""
        target = self._finished() + count
        async with self._changed:
            await asyncio.wait_for(
                self._changed.wait_for(lambda: self._finished() >= target or self._ended()), PATIENCE
            )
        if self._finished() < target:
            raise AssertionError("the load generator has ended: what it says stands above")

    @property
    def failed(self) -> int:
        """Failures so far, some 50 ms old."""
        return int(self._progress["failed"])

    def must_not_have_failed(self, when: str) -> None:
        """AssertionError with the last failure, if there was one."""
        assert self.failed == 0, f"{when}: {self.failed} failures, the last: {self._progress['last']}"

    @property
    def report(self) -> Report:
        if self._report is None:
            raise AssertionError("there is no report before the end of the load")
        return self._report

    def _finished(self) -> int:
        return int(self._progress["answered"] + self._progress["failed"])

    def _ended(self) -> bool:
        return self._reading is None or self._reading.done() or self._report is not None

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                told = json.loads(line)
                if "report" in told:
                    self._report = Report.read(told["report"])
                    self._progress = {
                        "sent": self._report.sent,
                        "answered": sum(self._report.statuses.values()),
                        "failed": self._report.errors,
                        "last": "",
                    }
                else:
                    self._progress = told
                async with self._changed:
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._changed.notify_all()
