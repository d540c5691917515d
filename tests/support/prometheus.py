"""A real Prometheus that scrapes what a test names, several times a second, and is asked in its own language."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tests.support import processes
from tests.support.binaries import ROOT
from tests.support.ports import free_port


@functools.cache
def binary() -> str:
    script = ROOT / "scripts" / "install" / "prometheus.sh"
    ran = subprocess.run([str(script)], check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.strip().splitlines()[-1]


class Prometheus:
    def __init__(self, port: int, process: processes.Process) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._process = process

    async def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values, now, of what the PromQL `query` finds."""
        found = await self._get("/api/v1/query", query=query)
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    async def number(self, query: str) -> float:
        """The sum of what it finds; 0 if that is nothing."""
        return sum(value for _, value in await self.ask(query))

    async def up(self) -> None:
        """Return when every target was scraped."""

        async def all_up() -> bool:
            found = await self._get("/api/v1/targets")
            targets = found["activeTargets"]
            assert targets
            assert all(each["health"] == "up" for each in targets), targets
            return True

        await processes.eventually(all_up, "Prometheus scrapes all targets", self._process, patience=20)

    async def reaches(self, query: str, expected: float) -> None:
        """Return when `query` gives `expected`."""

        async def there() -> bool:
            number = await self.number(query)
            assert number == expected, (query, number, expected)
            return True

        await processes.eventually(there, f"{query} is {expected}", self._process, patience=10, every=0.1)

    async def _get(self, path: str, **query: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self._url + path, params=query) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return json.loads(text)["data"]


@contextlib.asynccontextmanager
async def prometheus(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """`targets`: `host:port` of each job. It has started when the block begins; it scrapes 5 s later."""
    port = free_port()
    config = folder / "prometheus.json"  # which is YAML too
    jobs = [
        {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [target]}]}
        for job, target in targets.items()
    ]
    config.write_text(
        json.dumps(
            {"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"}, "scrape_configs": jobs}
        )
    )
    command = (
        binary(),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    async with processes.running("prometheus", folder, *command) as process:
        made = Prometheus(port, process)

        async def ready() -> bool:
            return isinstance(await made.ask("vector(1)"), list)

        await processes.eventually(ready, "Prometheus answers", process)
        yield made
