"""The one mesh that all traffic tests share, and what a test gets of it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from mesh.names import Key
from tests.support.mesh import Mesh
from tests.support.ports import LOOPBACK, Ports
from tests.support.traffic.applying import AppliedFile, Applier, refusals, unsettled
from tests.support.traffic.client import Answer, Client
from tests.support.traffic.grpc_side import GrpcAnswer, GrpcClient, GrpcServer
from tests.support.traffic.load import Load
from tests.support.traffic.load_process import Order
from tests.support.traffic.members import Member, MeshService, a_member, members, services
from tests.support.traffic.servers import HttpServer, Seen, Server, Tries
from tests.support.traffic.sidecars import Sidecar, start_all
from tests.support.traffic.tcp_side import TcpConnection, TcpServer, connected

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class World:
    """An async context manager: control plane, servers and sidecars, all ended at its end."""

    def __init__(
        self, folder: Path, *, only: Container[str] | None = None, drain_time: int = 1, **options: Any
    ) -> None:
        """`only` these workloads are there, `web-1` among them; by default all. `drain_time`, in seconds, is that of their Envoys. `options` are
        further options of `meshwright serve`.
        """
        self.folder = folder
        self._drain_time = drain_time
        self.ports = Ports()
        self.mesh = Mesh(folder, **options)
        self.mesh.xds_port, self.mesh.join_port = self.ports.take(), self.ports.take()
        self.mesh.admin_port, self.mesh.plaintext_port = self.ports.take(), self.ports.take()
        self.members: dict[str, Member] = {
            each.name: each for each in members(self.ports) if only is None or each.name in only
        }
        self._tries = Tries()
        self.servers: dict[str, Server] = {
            name: _server(each, self._tries) for name, each in self.members.items()
        }
        self.sidecars: dict[str, Sidecar] = {name: self.sidecar(each) for name, each in self.members.items()}
        self.applier = Applier(self.mesh, self.sidecars["web-1"])
        self.client = Client()
        self.grpc_client = GrpcClient()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        make_room_for_watchers()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.ports.close)
            await stack.enter_async_context(self.mesh)
            for service in services():
                of_it = [each.document() for each in self.members.values() if each.service == service]
                self.mesh.write(f"{service.key.name}.yaml", service.document(), *of_it)
            for server in self.servers.values():
                stack.push_async_callback(server.stop)
                await server.start()
            await self.mesh.serve()
            stack.push_async_callback(self._stop_sidecars)
            await start_all(self.sidecars.values())
            status = await self.applier.acknowledged()
            assert not (refused := list(refusals(status))), refused
            await stack.enter_async_context(self.client)
            stack.push_async_callback(self.grpc_client.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def sidecar(self, member: Member) -> Sidecar:
        """Not started yet."""
        mesh = self.mesh
        return Sidecar(
            member, self.folder, mesh.data, mesh.xds_port, mesh.join_port, drain_time=self._drain_time
        )

    def server(self, member: Member, tls: ssl.SSLContext | None = None) -> HttpServer:
        """A further HTTP server, not started yet."""
        return HttpServer(member, self._tries, tls)

    async def describe(self) -> str:
        """For who reads of a failed test: what the control plane says of sources and proxies, and the end of its log."""
        status = await self.mesh.status()
        lines = [each for source in status.sources for each in (*source.errors, *source.warnings)]
        lines += [f"{subject}: {why}" for subject, why in status.problems.items()]
        lines += [*status.conflicts, *refusals(status), *unsettled(status)]
        assert self.mesh.server is not None
        return "\n".join([*lines, self.mesh.server.tail(15)])

    async def _stop_sidecars(self) -> None:
        await asyncio.gather(*(each.stop() for each in self.sidecars.values()))

    def reset(self) -> None:
        """Before each test: servers behave normally, and have seen nothing."""
        self._tries.counts.clear()
        for server in self.servers.values():
            server.reset()

    def workload(self, name: str) -> str:
        """`web` is `web-1`."""
        if name in self.members:
            return name
        if f"{name}-1" in self.members:
            return f"{name}-1"
        raise KeyError(f"{name!r} is not in the mesh: {', '.join(self.members)}")


class Traffic:
    """What a test gets: see `World` for who is there, `behaviour` for what servers can be asked to do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mesh = world.mesh
        self.servers = world.servers

    def apply(
        self, documents: str, *, lenient: bool = False
    ) -> contextlib.AbstractAsyncContextManager[AppliedFile]:
        """`async with traffic.apply(yaml) as file:` the documents are in force, acknowledged by every sidecar, within the block.
        RefusedError says why they are not taken. See `Applier.apply`.
        """
        return self.world.applier.apply(documents, lenient=lenient)

    def member(self, name: str) -> Member:
        return self.world.members[self.world.workload(name)]

    def envoy(self, name: str) -> Sidecar:
        """The sidecar of a workload: `stats`, `clusters`, `config_dump`, `admin`."""
        return self.world.sidecars[self.world.workload(name)]

    def seen(self, service: str) -> list[Seen]:
        """The requests that the servers of `service` have seen, in the order of their coming."""
        of_it = (each for each in self.servers.values() if each.member.service.key.name == service)
        return sorted((request for server in of_it for request in server.requests), key=lambda each: each.at)

    async def get(
        self,
        url: str,
        *,
        headers: Headers = (),
        caller: str = "web",
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """`url`'s host is a name of the mesh: `http://api.mesh/path`. `Answer.status` 0 is no answer, `error` then says why."""
        return await self.world.client.request(
            method, url, via=self.member(caller), headers=headers, body=body
        )

    async def many(
        self,
        n: int,
        url: str,
        *,
        headers: Headers = (),
        caller: str = "web",
        method: str = "GET",
        body: bytes | None = None,
        rate: float | None = None,
        concurrency: int = 16,
    ) -> list[Answer]:
        """`n` requests, `rate` a second or as quickly as `concurrency` at a time allows."""
        return await self.world.client.many(
            n,
            method,
            url,
            rate=rate,
            concurrency=concurrency,
            via=self.member(caller),
            headers=headers,
            body=body,
        )

    # What a test adds

    def port(self) -> int:
        """One that nobody else takes, for a document of a test."""
        return self.world.ports.take()

    @contextlib.asynccontextmanager
    async def outside(
        self, service: str = "outside", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[HttpServer]:
        """One more server without a sidecar, unknown to the mesh: `server.member.app_ports["http"]` is its port."""
        server = self.world.server(a_member(self.world.ports, MeshService(Key("default", service)), 1), tls)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()

    @contextlib.asynccontextmanager
    async def proxy(self, workload: str, account: str, envoy: Path | None = None) -> AsyncIterator[Sidecar]:
        """One more proxy, for example a gateway's, for a workload (`edge-1`, `namespace/edge-1`) that a document declares by now.
        `envoy`: a program to run in the place of Envoy.
        """
        key = Key.parse(workload)
        made = self.world.sidecar(Member(key, MeshService(Key(key.namespace, account)), outbound_port=0))
        made.envoy = envoy or made.envoy
        try:
            await start_all([made])
            await self.world.applier.acknowledged()
            yield made
        finally:
            await made.stop()

    # What is away

    @contextlib.asynccontextmanager
    async def without_app(self, name: str) -> AsyncIterator[None]:
        """Nothing listens on the workload's own ports within the block: its sidecar finds nobody."""
        server = self.servers[self.world.workload(name)]
        await server.stop()
        try:
            yield
        finally:
            await server.start()

    @contextlib.asynccontextmanager
    async def without_sidecar(self, name: str) -> AsyncIterator[None]:
        """The workload's sidecar does not run within the block: callers cannot connect. At its end, a new one is in sync."""
        sidecar = self.envoy(name)
        await sidecar.stop()
        try:
            yield
        finally:
            await start_all([sidecar])
            await self.world.applier.acknowledged()

    # Other protocols

    async def grpc(
        self,
        authority: str,
        method: str = "/test.Echo/Say",
        *messages: bytes,
        metadata: Mapping[str, str] | None = None,
        caller: str = "web",
        patience: float = 10.0,
        port: int | None = None,
    ) -> GrpcAnswer:
        """A gRPC call, by the caller's outbound port (or `port`). See `grpc_side` for what a method's name means."""
        port = port or self.member(caller).outbound_port
        return await self.world.grpc_client.call(
            port, authority, method, messages or (b"",), metadata or {}, patience
        )

    def tcp(self, place: str = "tcp/echo") -> contextlib.AbstractAsyncContextManager[TcpConnection]:
        """A TCP connection of `dialer` through its sidecar. `place` is `<service>/<port>` of those that it dials."""
        return connected(self.member("dialer").local[place])

    @contextlib.asynccontextmanager
    async def websocket(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        caller: str = "web",
        port: int | None = None,
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to a service, by the caller's outbound port (or `port`); it first says who answers, as JSON, and then echoes.
        aiohttp.WSServerHandshakeError if it is refused.
        """
        host, _, path = url.split("://", 1)[1].partition("/")
        target = f"ws://{LOOPBACK}:{port or self.member(caller).outbound_port}/{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(target, headers={**(headers or {}), "host": host}) as stream,
        ):
            yield stream

    # Constant load

    def load(
        self,
        url: str,
        *,
        rate: float = 1000.0,
        seconds: float | None = None,
        caller: str = "web",
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        connections: int = 64,
    ) -> Load:
        """`async with traffic.load(url, rate=1000) as load:` requests at a constant rate from another process; afterwards
        `load.report` tells of each. With `seconds`: `report = await load.done()` within the block.
        """
        host, _, path = url.split("://", 1)[1].partition("/")
        return Load(
            Order(
                LOOPBACK,
                self.member(caller).outbound_port,
                host,
                f"/{path}",
                method,
                dict(headers or {}),
                rate,
                seconds,
                connections,
            )
        )


def _server(member: Member, tries: Tries) -> Server:
    """The application of a member, by the protocol of its first port."""
    match member.service.ports[0].protocol:
        case "grpc":
            return GrpcServer(member, tries)
        case "tcp":
            return TcpServer(member, tries)
        case _:
            return HttpServer(member, tries)


def make_room_for_watchers(wanted: int = 1024) -> None:
    """Each Envoy holds four inotify instances, and many systems allow a user 128 of them: where there are too few, Envoy aborts.
    Root raises the limit, which costs nothing; where that cannot be done it stays, and is enough for one such mesh at a time.
    """
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    with contextlib.suppress(OSError):
        if int(limit.read_text()) < wanted:
            limit.write_text(str(wanted))
