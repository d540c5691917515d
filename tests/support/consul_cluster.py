"""Three real Consul servers, of which one can be killed: a leader changes as it does in production."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support import binaries
from tests.support.ports import free_ports
from tests.support.processes import Process, eventually, start

SERVERS = 3
QUICK = "performance = {raft_multiplier = 1}"
"""Raft's times as Consul recommends them for production; its default is for small machines, five times as long."""


@dataclass
class Server:
    number: int
    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def raft(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"


@dataclass
class Cluster:
    servers: list[Server]

    async def start(self, server: Server) -> None:
        http, rpc, serf = server.ports
        others = [each for each in self.servers if each is not server]
        server.process = await start(
            f"consul-{server.number}",
            server.folder.parent,
            *(
                binaries.consul(),
                "agent",
                "-server",
                f"-bootstrap-expect={SERVERS}",
                f"-data-dir={server.folder}",
            ),
            *("-bind=127.0.0.1", "-client=127.0.0.1", f"-node=server-{server.number}", "-log-level=warn"),
            *(f"-http-port={http}", f"-server-port={rpc}", f"-serf-lan-port={serf}"),
            *("-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1", "-hcl", QUICK),
            *(f"-retry-join=127.0.0.1:{each.ports[2]}" for each in others),
            "-retry-interval=1s",
        )

    async def leader(self) -> Server:
        """Once those that run agree on one that runs."""
        running = [each for each in self.servers if each.process is not None and each.process.running()]

        async def agreed() -> Server | None:
            said = {await _said(each) for each in running}
            return next((each for each in running if said == {each.raft}), None)

        return await eventually(agreed, "the servers agree on a leader")

    async def kill_leader(self) -> Server:
        """SIGKILL; the killed server."""
        leader = await self.leader()
        assert leader.process is not None
        await leader.process.kill()
        return leader


async def _said(server: Server) -> str:
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}/v1/status/leader") as answer,
        ):
            return str(await answer.json())
    return ""


@contextlib.asynccontextmanager
async def consul_cluster(folder: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster([Server(number, folder / f"server-{number}") for number in range(SERVERS)])
    try:
        await asyncio.gather(*(cluster.start(each) for each in cluster.servers))
        await cluster.leader()
        yield cluster
    finally:
        await asyncio.gather(*(each.process.kill() for each in cluster.servers if each.process is not None))
