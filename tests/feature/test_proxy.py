"""The agent with a real Envoy: `agent.run.run`, which `meshwright proxy` is a thin shell of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import grpc.aio
from cryptography import x509

from agent import sidecar
from agent.options import ProxyOptions
from agent.renew import TokenSource
from agent.run import run
from agent.stopping import Stopping
from ca.times import system_clock
from envoy.admin import AdminClient
from tests.support import binaries
from tests.support.ca_ads import EmptyAds
from tests.support.ca_builders import API_1, TRUST_DOMAIN, JoinServer, a_join_server, an_authority
from tests.support.ca_logs import Recorded

DEADLINE = 30


@dataclass
class Agent:
    options: ProxyOptions
    log: Recorded = field(default_factory=Recorded)
    stopping: Stopping = field(default_factory=Stopping)

    async def run(self) -> int:
        async with asyncio.timeout(DEADLINE):
            return await run(self.options, stopping=self.stopping, log=self.log.logger())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[int]]:
        """Ends by a request to stop, with code 0, and with no Envoy left."""
        task = asyncio.create_task(self.run())
        try:
            async with asyncio.timeout(DEADLINE):
                ready = asyncio.create_task(self.log.until("info: envoy is ready"))
                await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()  # nothing to cancel if it is done
                assert not task.done(), self.log.entries
                yield task
        finally:
            self.stopping.request()
            code = await task
        assert code == 0, self.log.entries
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 0)
                raise AssertionError(f"envoy {pid} still runs")

    def pids(self) -> list[int]:
        return [int(fields["pid"]) for _, event, fields in self.log.entries if event == "envoy started"]

    def admin(self) -> AdminClient:
        found = AdminClient.at((self.options.directory / "bootstrap.admin-address").read_text())
        assert found is not None
        return found

    def reason(self) -> str:
        return str(
            next(fields["reason"] for _, event, fields in self.log.entries if event == "the agent ends")
        )


async def options_for(server: JoinServer, directory: Path, token: str | None = None) -> ProxyOptions:
    directory.mkdir(exist_ok=True)
    return ProxyOptions(
        workload=API_1,
        trust_domain=TRUST_DOMAIN,
        control_plane=server.renew_address,
        join=server.join_address,
        bundle=server.bundle,
        token=TokenSource(token),
        directory=directory,
        drain_time=5,
        envoy=Path(await asyncio.to_thread(binaries.envoy)),
        envoy_log=directory / "envoy.log",
        concurrency=1,
    )


def a_token(server: JoinServer) -> str:
    return server.tokens.create("default", "api", now=system_clock())


async def test_a_proxy_joins_once_and_comes_back_without_a_token(tmp_path: Path) -> None:
    ads = EmptyAds()
    async with a_join_server(tmp_path / "control-plane", also=ads.add_to) as server:
        token = a_token(server)
        agent = Agent(await options_for(server, tmp_path / "agent", token))
        async with agent.running():
            stream = await ads.until(1)
            assert stream.node_id == "default/api-1"
            ready = next(fields for _, event, fields in agent.log.entries if event == "envoy is ready")
            assert ready["admin"] == f"http://127.0.0.1:{agent.admin().port}"
            dumped = str(await agent.admin().config_dump())
            shown = str(stream.pems)
            assert "PRIVATE" not in dumped + shown
        again = Agent(await options_for(server, tmp_path / "agent"))
        async with again.running():
            assert (await ads.until(2)).serial == stream.serial
        assert [event.outcome for event in server.events] == ["joined"]
        key = (tmp_path / "agent" / "identity" / "current" / "key.pem").read_text().splitlines()[1]
        files = [path for path in (tmp_path / "agent").iterdir() if path.is_file()]
        assert {"bootstrap.json", "envoy.log"} <= {path.name for path in files}
        told = "".join(path.read_text() for path in files) + repr(agent.log.entries) + dumped
        assert key not in told
        assert token.partition(".")[2] not in told


async def test_envoy_connects_anew_with_the_renewed_certificate(tmp_path: Path) -> None:
    ads = EmptyAds()
    ages = (("grpc.max_connection_age_ms", 500), ("grpc.max_connection_age_grace_ms", 100))
    async with a_join_server(
        tmp_path / "control-plane", lifetime=timedelta(seconds=4), also=ads.add_to, options=ages
    ) as server:
        agent = Agent(await options_for(server, tmp_path / "agent", a_token(server)))
        async with agent.running():
            first = await ads.until(1)
            while ads.streams[-1].serial == first.serial:
                await ads.until(len(ads.streams) + 1)
            chains = [path.read_bytes() for path in (tmp_path / "agent" / "identity").glob("*/chain.pem")]
            renewed = {x509.load_pem_x509_certificate(chain).serial_number for chain in chains}
            assert ads.streams[-1].serial in renewed - {first.serial}
            assert len(agent.pids()) == 1


async def test_an_envoy_that_ends_by_itself_is_started_again(tmp_path: Path) -> None:
    ads = EmptyAds()
    async with a_join_server(tmp_path / "control-plane", also=ads.add_to) as server:
        agent = Agent(await options_for(server, tmp_path / "agent", a_token(server)))
        async with agent.running():
            os.kill(agent.pids()[0], signal.SIGKILL)
            await agent.log.until("info: envoy is ready", times=2)
            assert len(agent.pids()) == 2


async def test_what_cannot_go_on_ends_with_its_code_and_reason(tmp_path: Path) -> None:
    async with a_join_server(tmp_path / "control-plane") as server:
        options = await options_for(server, tmp_path / "agent")
        foreign = await asyncio.to_thread(an_authority, tmp_path / "foreign")
        cases = {
            5: (options, "meshwright token create"),
            3: (replace(options, token=TokenSource("mwj_wrong")), "token is unknown"),
            4: (
                replace(options, token=TokenSource(a_token(server)), bundle=foreign.bundle_path),
                "check the address",
            ),
        }
        for code, (given, reason) in cases.items():
            agent = Agent(given)
            assert await agent.run() == code
            assert reason in agent.reason()
            assert agent.pids() == []
        missing = Agent(
            replace(options, token=TokenSource(a_token(server)), envoy=Path("/nonexistent/envoy"))
        )
        assert await missing.run() == 1
        assert "/nonexistent/envoy" in missing.reason()
        nowhere = Agent(replace(options, token=TokenSource(a_token(server)), control_plane="nowhere"))
        assert await nowhere.run() == 2
        assert not [
            token for token in server.tokens.list() if token.used
        ]  # none was spent on what cannot work


def listening(pid: int) -> list[str]:
    """The addresses, in hexadecimal, that a process listens at: https://man7.org/linux/man-pages/man5/proc_pid_net.5.html"""
    sockets = {each.readlink().name for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    lines = (Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    found = (line.split() for of in lines for line in of)
    return [each[1] for each in found if each[3] == "0A" and f"socket:[{each[9]}]" in sockets]


async def test_with_a_socket_nobody_reaches_the_admin_interface_by_an_address(tmp_path: Path) -> None:
    """What a route sends to loopback comes to whatever listens there: Envoy's own interface must not."""
    async with a_join_server(tmp_path / "control-plane", also=EmptyAds().add_to) as server:
        options = await options_for(server, tmp_path / "agent", a_token(server))
        agent = Agent(replace(options, admin_socket=True))
        async with agent.running():
            socket = Path(agent.admin().socket or "")
            assert stat.S_IMODE(socket.stat().st_mode) == 0o600
            assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
            assert await agent.admin().ready()
            assert await sidecar.ready(agent.options)
            (pid,) = agent.pids()
            assert await asyncio.to_thread(listening, pid) == []
            dump = await agent.admin().config_dump()
            assert str(dump).count(f"'path': '{socket}'") >= 2, (
                "its own, and the cluster by which metrics are shown"
            )
            ready = next(fields for _, event, fields in agent.log.entries if event == "envoy is ready")
            assert ready["admin"] == str(socket)


async def test_an_admin_port_that_is_taken_is_named_before_the_token_is_spent(tmp_path: Path) -> None:
    async with a_join_server(tmp_path / "control-plane") as server:
        holder = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with holder:
            port = holder.sockets[0].getsockname()[1]
            options = await options_for(server, tmp_path / "agent", a_token(server))
            agent = Agent(replace(options, admin_port=port))
            assert await agent.run() == 2
        assert f"127.0.0.1:{port} cannot be had (Address already in use)" in agent.reason()
        assert "--admin-port" in agent.reason()
        assert not any(token.used for token in server.tokens.list())


async def test_a_wrong_control_plane_address_is_told_within_seconds(tmp_path: Path) -> None:
    """Nobody there, somebody else there, and the join port, whose certificate is right: the hint names the option."""
    foreign = tmp_path / "foreign"
    async with a_join_server(tmp_path / "control-plane") as server, a_join_server(foreign) as other:
        options = await options_for(server, tmp_path / "agent", a_token(server))
        cases = {
            "127.0.0.1:1": "nothing answers at 127.0.0.1:1 (Connect call failed",
            other.renew_address: f"what answers at {other.renew_address} is not the control plane of 'example.org'",
            server.join_address: f"{server.join_address} answers: either that is not",
        }
        for address, text in cases.items():
            agent = Agent(replace(options, control_plane=address))
            task = asyncio.create_task(agent.run())
            async with asyncio.timeout(DEADLINE):
                await agent.log.until("warning: envoy is not ready")
                agent.stopping.request()
                assert await task == 0
            told = next(fields for _, event, fields in agent.log.entries if event == "envoy is not ready")
            assert "after 5 s" in told["reason"]
            assert text in told["hint"]
            assert "--control-plane, 15010" in told["hint"]


async def test_one_agent_works_in_a_directory(tmp_path: Path) -> None:
    ads = EmptyAds()
    async with a_join_server(tmp_path / "control-plane", also=ads.add_to) as server:
        agent = Agent(await options_for(server, tmp_path / "agent", a_token(server)))
        async with agent.running():
            other = Agent(agent.options)
            assert await other.run() == 8
            assert "directory of its own" in other.reason()


async def test_a_stop_ends_the_wait_for_a_control_plane(tmp_path: Path) -> None:
    async with a_join_server(tmp_path / "control-plane") as server:
        options = await options_for(server, tmp_path / "agent", a_token(server))
    agent = Agent(options)
    task = asyncio.create_task(agent.run())
    async with asyncio.timeout(DEADLINE):
        await agent.log.until("warning: joining has to wait")
        agent.stopping.request()
        assert await task == 0


async def test_sigterm_ends_it_in_peace(tmp_path: Path) -> None:
    ads, log = EmptyAds(), Recorded()
    async with a_join_server(tmp_path / "control-plane", also=ads.add_to) as server:
        options = await options_for(server, tmp_path / "agent", a_token(server))
        task = asyncio.create_task(run(options, log=log.logger()))
        async with asyncio.timeout(DEADLINE):
            await log.until("info: envoy is ready")
            os.kill(os.getpid(), signal.SIGTERM)
            assert await task == 0
    # This server knows nothing of leaving, as a control plane of before.
    assert log.events()[-3:] == [
        "info: envoy drains",
        "warning: callers are not told that this proxy ends",
        "info: envoy stopped",
    ]


async def test_a_proxy_on_loopback_may_be_told_to_go_without_an_identity(tmp_path: Path) -> None:
    ads = EmptyAds()
    plain = grpc.aio.server()
    ads.add_to(plain)
    port = plain.add_insecure_port("127.0.0.1:0")
    await plain.start()
    try:
        async with a_join_server(tmp_path / "control-plane") as server:
            options = await options_for(server, tmp_path / "agent")
        agent = Agent(replace(options, join=None, bundle=None, control_plane=f"127.0.0.1:{port}"))
        async with agent.running():
            assert (await ads.until(1)).pems == []
        assert "warning: this proxy is not a member of the mesh: plaintext, no identity" in agent.log.events()
    finally:
        await plain.stop(None)
