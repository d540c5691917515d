"""Who is refused at the TLS layer: six kinds of impostors, each as a client of a sidecar and as a server to one.

Two real Envoys with real certificates: of the program's own authority, and of that of another mesh. What is refused never sees a byte of
HTTP, nor says one that is heard; and what is good passes by the same way, so that a refusal means something.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from envoy.launcher import EnvoyProcess
from mesh.identity import Identity
from mesh.names import Key, sni
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from tests.support.builders import TRUST_DOMAIN, a_proxy, a_service, a_state, a_workload
from tests.support.envoy_static import application, envoy, rendered
from tests.support.ports import free_ports
from tests.support.processes import eventually
from tests.support.wrong_certificates import Authorities, Case, Shown

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = "good"
"""The service whose server is who it should be."""

WHY = {
    Case.FOREIGN: "fail_verify_error",
    Case.EXPIRED: "fail_verify_error",
    Case.EARLY: "fail_verify_error",
    Case.SELF_SIGNED: "fail_verify_error",
    Case.OTHER: "fail_verify_san",
}
"""Which counter of Envoy's TLS says so (https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/stats#tls-statistics)."""

REQUEST = b"GET / HTTP/1.1\r\nhost: api.mesh\r\nconnection: close\r\n\r\n"


@dataclass(slots=True)
class Impostor:
    """A server on `port`: what it read, TLS taken off where there is any."""

    port: int
    read: bytearray = field(default_factory=bytearray)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            self.read += await reader.read(65536)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen")
            await writer.drain()
        writer.close()


@dataclass(slots=True)
class Mesh:
    """`web` calls `api` and one service for each case; `servers` are these, on ports of their own."""

    authorities: Authorities
    web: EnvoyProcess
    api: EnvoyProcess
    sidecar: int
    outbound: int
    servers: dict[str, Impostor]
    seen: Sequence[object]

    async def call(self, service: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"http://127.0.0.1:{self.outbound}/", headers={"host": f"{service}.mesh"}) as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("refused")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(folder: Path) -> AsyncIterator[Mesh]:
    authorities = Authorities.make(folder, TRUST_DOMAIN)
    app, sidecar, outbound, *ports = free_ports(3 + len(Case) + 1)
    servers = {str(name): Impostor(port) for name, port in zip((*Case, GOOD), ports, strict=True)}
    state = a_state(
        a_service("api"),
        a_proxy("api-1", sidecar=sidecar, app=app, uses=()),
        *(a_service(name) for name in servers),
        *(a_proxy(f"{name}-1", sidecar=each.port) for name, each in servers.items()),
        a_workload("web-1", services=[], service_account="web", meshed=True, outbound_port=outbound),
    )
    async with contextlib.AsyncExitStack() as stack:
        for name, each in servers.items():
            shown = await (authorities.good(name) if name == GOOD else authorities.shown(Case(name), name))
            context = None if shown is None else server_context(folder, name, shown)
            listening = await asyncio.start_server(each.answer, "127.0.0.1", each.port, ssl=context)
            await stack.enter_async_context(listening)
        seen = await stack.enter_async_context(application(app, "api"))
        api, web = [
            await stack.enter_async_context(
                envoy(
                    folder,
                    name,
                    rendered(state, name),
                    secrets(await authorities.good(name.removesuffix("-1")), authorities.roots),
                )
            )
            for name in ("api-1", "web-1")
        ]
        yield Mesh(authorities, web, api, sidecar, outbound, servers, seen)


def secrets(shown: Shown, roots: bytes) -> tuple[Secret, Secret]:
    identity, trusted = Secret(name="identity"), Secret(name="roots")
    identity.tls_certificate.certificate_chain.inline_bytes = shown.chain
    identity.tls_certificate.private_key.inline_bytes = shown.key
    trusted.validation_context.trusted_ca.inline_bytes = roots
    return identity, trusted


def server_context(folder: Path, name: str, shown: Shown) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shown.files(folder, f"server-{name}"))
    return context


async def said_to(mesh: Mesh, folder: Path, name: str, shown: Shown | None) -> bytes:
    """What the inbound port of `api` answers to a client that shows `shown`; it takes any server for the right one."""
    context, server = None, None
    if shown is not None:
        context, server = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            sni(Key("default", "api"), 80, TRUST_DOMAIN),
        )
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(*shown.files(folder, f"client-{name}"))
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", mesh.sidecar, ssl=context, server_hostname=server
        )
        writer.write(REQUEST)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return b""
    return answer


@contextlib.contextmanager
def nothing_heard(mesh: Mesh) -> Iterator[None]:
    before = len(mesh.seen)
    yield
    assert len(mesh.seen) == before, "the application was reached"


async def counted(process: EnvoyProcess, pattern: str, more_than: int) -> None:
    async def told() -> bool:
        return sum((await process.admin.stats(pattern)).values()) > more_than

    await eventually(told, f"{pattern} is counted")


async def test_what_is_good_passes_both_ways(mesh: Mesh, folder: Path) -> None:
    assert b"200 OK" in await said_to(mesh, folder, GOOD, await mesh.authorities.good("web"))
    assert (await mesh.call("api"))[0] == 200
    assert await mesh.call(GOOD) == (200, "stolen")
    assert mesh.servers[GOOD].read.startswith(b"GET / HTTP/1.1")


@pytest.mark.parametrize("case", Case)
async def test_a_client_is_refused_that_is(mesh: Mesh, folder: Path, case: Case) -> None:
    shown = await mesh.authorities.shown(case, "web")
    if case is Case.OTHER:
        # Any workload of the mesh may knock, and who of them may enter is policy: to a callee, a wrong identity is one of no workload of it.
        shown = mesh.authorities.of_our_signer(Identity(f"{TRUST_DOMAIN}.evil", "default", "web"))
    pattern = (
        r"^listener\..*\.no_filter_chain_match$" if shown is None else rf"^listener\..*\.ssl\.{WHY[case]}$"
    )
    before = sum((await mesh.api.admin.stats(pattern)).values())
    with nothing_heard(mesh):
        assert await said_to(mesh, folder, str(case), shown) == b""
    await counted(mesh.api, pattern, before)


@pytest.mark.parametrize("case", Case)
async def test_a_server_is_refused_that_is(mesh: Mesh, case: Case) -> None:
    status, text = await mesh.call(case)
    assert status == 503
    assert "stolen" not in text
    assert b"HTTP" not in mesh.servers[case].read, "it was sent a request"
    why = WHY.get(case, "connection_error")
    await counted(mesh.web, rf"^cluster\.default/{case}_80\.ssl\.{why}$", 0)
