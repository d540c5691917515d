"""Sidecars: a real agent and a real Envoy for each workload.

The agents run as tasks of the tests' own process, which spares a Python interpreter a sidecar and brings up a mesh in seconds. They
do all that `meshwright proxy` does (see `tests/feature/test_proxy.py` for that program itself).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from agent.options import ProxyOptions
from agent.renew import TokenSource
from agent.run import run
from agent.stopping import Stopping
from ca.times import system_clock
from ca.tokens import TokenStore
from envoy.admin import AdminClient
from envoy.errors import AdminFailed
from mesh.workload import Locality
from tests.support import binaries
from tests.support.ports import LOOPBACK
from tests.support.processes import eventually
from tests.support.traffic.members import TRUST_DOMAIN, Member


class Sidecar:
    """The agent and the Envoy of one member. `start`, then `ready`, then `stop`. `envoy` is the program that is run."""

    def __init__(
        self,
        member: Member,
        folder: Path,
        data_dir: Path,
        xds_port: int,
        join_port: int,
        *,
        drain_time: int = 1,
    ) -> None:
        self.member = member
        self.envoy = Path(binaries.envoy())
        self._drain_time = drain_time
        self._directory = folder / f"{member.name}-agent"
        self.agent_log = folder / f"{member.name}-agent.log"
        self.envoy_log = folder / f"{member.name}-envoy.log"
        self._data_dir = data_dir
        self._ports = xds_port, join_port
        self._stopping = Stopping()
        self._task: asyncio.Task[int] | None = None

    async def start(self) -> None:
        self._stopping = Stopping()
        self._admin_address.unlink(missing_ok=True)
        key, account = self.member.key, self.member.account
        token = await asyncio.to_thread(
            TokenStore(self._data_dir).create, key.namespace, account, now=system_clock(), workload=key.name
        )
        xds_port, join_port = self._ports
        options = ProxyOptions(
            workload=key,
            trust_domain=TRUST_DOMAIN,
            control_plane=f"{LOOPBACK}:{xds_port}",
            directory=self._directory,
            join=f"{LOOPBACK}:{join_port}",
            bundle=self._data_dir / "roots.pem",
            token=TokenSource(token),
            locality=Locality(self.member.region, self.member.zone),
            admin_port=0,
            drain_time=self._drain_time,
            envoy=self.envoy,
            envoy_log=self.envoy_log,
            # One worker: round robin, and every bound that Envoy keeps for each worker, are exact.
            concurrency=1,
        )
        self._task = asyncio.create_task(self._run(options), name=f"sidecar of {self.member.name}")

    async def _run(self, options: ProxyOptions) -> int:
        with self.agent_log.open("a", buffering=1) as output:
            log = structlog.wrap_logger(
                structlog.WriteLogger(output),
                processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
                wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            )
            return await run(options, stopping=self._stopping, log=log)

    async def ready(self) -> None:
        """Envoy is LIVE."""

        async def live() -> bool:
            if self._task is None or self._task.done():
                raise RuntimeError(f"the sidecar of {self.member.name} has ended\n{self.logs()}")
            return await self.admin.ready()

        await eventually(_patient(live), f"the sidecar of {self.member.name} is live: {self.agent_log}")

    @property
    def _admin_address(self) -> Path:
        return self._directory / "bootstrap.admin-address"

    @property
    def admin(self) -> AdminClient:
        """Envoy's admin interface; AdminFailed while it is not open."""
        try:
            host, _, port = (self._directory / "bootstrap.admin-address").read_text().strip().rpartition(":")
        except OSError as error:
            raise AdminFailed(f"the Envoy of {self.member.name} has no admin interface yet") from error
        if not port.isdecimal():
            raise AdminFailed(f"the Envoy of {self.member.name} has no admin interface yet")
        return AdminClient(host, int(port))

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges in whose name the regular expression `pattern` is found."""
        return await self.admin.stats(pattern)

    async def config_dump(self) -> Any:
        return await self.admin.config_dump(endpoints=True)

    async def clusters(self) -> dict[str, Any]:
        """`/clusters?format=json`, by the name of the cluster."""
        found = await self.admin.clusters()
        return {each["name"]: each for each in found.get("cluster_statuses", [])}

    def logs(self, lines: int = 20) -> str:
        """The ends of both logs."""
        texts = []
        for path in (self.agent_log, self.envoy_log):
            if path.exists():
                texts += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(texts)

    async def end(self) -> None:
        """As on SIGTERM: it leaves the mesh, drains, and has ended when this returns."""
        self._stopping.request()
        if self._task is not None:
            assert await self._task == 0, self.logs()
            self._task = None

    async def stop(self) -> None:
        """Without a drain: no caller is left."""
        self._stopping.request()
        self._stopping.request()
        if self._task is not None:
            await self._task
            self._task = None


def _patient(question: Any) -> Any:
    """An admin interface that does not answer yet is "not yet"."""

    async def asked() -> bool:
        with contextlib.suppress(AdminFailed):
            return bool(await question())
        return False

    return asked


async def start_all(sidecars: Iterable[Sidecar]) -> None:
    """Start all, and return when all are live."""
    started = list(sidecars)
    await asyncio.gather(*(each.start() for each in started))
    await asyncio.gather(*(each.ready() for each in started))
