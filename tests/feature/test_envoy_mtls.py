"""Two real Envoys, mutual TLS between them: who gets through, and who does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from envoy.launcher import EnvoyProcess
from mesh.state import MeshState
from mesh.workload import Use, WorkloadPort
from tests.support.builders import TRUST_DOMAIN, a_key, a_port, a_service, a_state, a_workload
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import application, echo, envoy, rendered
from tests.support.ports import free_ports

WEB = f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web"
API = f"spiffe://{TRUST_DOMAIN}/ns/default/sa/api"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens."""

    app: int
    sidecar: int
    outbound: int
    local: int
    echo: int
    echo_sidecar: int
    local_echo: int
    other_outbound: int
    plain: int


@pytest.fixture
def ports() -> Ports:
    return Ports(*free_ports(9))


@pytest.fixture
def state(ports: Ports) -> MeshState:
    """web calls api, which serves HTTP on 80 and 8080 and TCP on 5000, and plain, which has no sidecar."""
    api = a_service(
        "api", a_port("http", 80), a_port("admin", 8080), a_port("raw", 5000, "tcp"), service_accounts=["api"]
    )
    served = (
        WorkloadPort("http", ports.app, ports.sidecar),
        WorkloadPort("admin", ports.app, ports.sidecar),
        WorkloadPort("raw", ports.echo, ports.echo_sidecar),
    )
    uses = (
        Use(a_key("api"), "http", ports.local),
        Use(a_key("api"), "raw", ports.local_echo),
        Use(a_key("plain")),
        Use(a_key("other/far")),
    )
    return a_state(
        api,
        a_service("plain"),
        a_service("web"),
        a_service("other/far"),
        a_workload("api-1", meshed=True, ports=served, outbound_port=ports.other_outbound),
        a_workload("plain-1", app=ports.plain),
        a_workload("other/far-1", app=ports.plain),
        a_workload(
            "web-1", services=[], service_account="web", meshed=True, uses=uses, outbound_port=ports.outbound
        ),
    )


async def get(port: int, host: str, path: str = "/") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host}) as answer,
    ):
        return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def callee(
    folder: Path, state: MeshState, authority: TestAuthority, ports: Ports, identity: str = API
) -> AsyncIterator[EnvoyProcess]:
    async with (
        application(ports.app, "api"),
        echo(ports.echo),
        envoy(folder, "api-1", rendered(state, "api-1"), authority.secrets(identity)) as process,
    ):
        yield process


@contextlib.asynccontextmanager
async def caller(
    folder: Path, state: MeshState, authority: TestAuthority, identity: str = WEB, roots: bytes | None = None
) -> AsyncIterator[EnvoyProcess]:
    async with envoy(
        folder, "web-1", rendered(state, "web-1"), authority.secrets(identity, roots)
    ) as process:
        yield process


async def total(process: EnvoyProcess, pattern: str) -> int:
    """The sum of the counters whose names `pattern` is found in."""
    return sum((await process.admin.stats(pattern)).values())


async def test_a_request_passes_with_the_callers_identity_by_every_name(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    authority = TestAuthority()
    async with callee(tmp_path, state, authority, ports), caller(tmp_path, state, authority):
        for host in ("api", "api.mesh", "api.default", "api.default.mesh", "API.mesh"):
            for authority_of in (host, f"{host}:80", f"{host}:8080"):
                status, text = await get(ports.outbound, authority_of)
                if host == "API.mesh":
                    assert status == 404  # a scope's key is exact: names are lower-case
                    continue
                assert status == 200, (authority_of, text)
                answer = json.loads(text)
                assert f"URI={WEB}" in answer["xfcc"]
                assert answer["host"] == authority_of
        for host in ("unknown.mesh", "api.mesh:81", "store", "127.0.0.1", "far", "far.mesh"):
            assert (await get(ports.outbound, host))[0] == 404, host


async def test_explicit_local_ports_lead_to_http_and_tcp_whatever_the_host(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    authority = TestAuthority()
    async with callee(tmp_path, state, authority, ports), caller(tmp_path, state, authority):
        status, text = await get(ports.local, "anything.example")
        assert status == 200
        assert f"URI={WEB}" in json.loads(text)["xfcc"]
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.local_echo)
        writer.write(b"bytes to and fro")
        assert await asyncio.wait_for(reader.readexactly(16), 10) == b"bytes to and fro"
        writer.close()
        await writer.wait_closed()


async def test_endpoints_without_a_sidecar_are_reached_in_plaintext(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    authority = TestAuthority()
    async with application(ports.plain, "plain"), caller(tmp_path, state, authority):
        for host in ("plain.mesh", "far.other", "far.other.mesh:80"):
            status, text = await get(ports.outbound, host)
            assert status == 200
            assert json.loads(text)["xfcc"] is None


async def test_what_a_caller_claims_about_itself_is_replaced_by_what_it_proved(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    authority = TestAuthority()
    leaf = authority.leaf(WEB)
    (tmp_path / "cert.pem").write_bytes(leaf.certificate)
    (tmp_path / "key.pem").touch(mode=0o600)
    (tmp_path / "key.pem").write_bytes(leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    forged = {"x-forwarded-client-cert": f"URI=spiffe://{TRUST_DOMAIN}/ns/default/sa/admin"}
    async with callee(tmp_path, state, authority, ports), aiohttp.ClientSession() as session:
        async with session.get(
            f"https://127.0.0.1:{ports.sidecar}/",
            ssl=context,
            server_hostname=f"80.api.default.{TRUST_DOMAIN}",
            headers=forged,
        ) as answer:
            body = await answer.json()
        assert "admin" not in body["xfcc"]
        assert f"URI={WEB}" in body["xfcc"]
        assert answer.headers["server"] == "the-app"
        with pytest.raises(aiohttp.ClientError):  # an unknown server name has no filter chain
            await session.get(
                f"https://127.0.0.1:{ports.sidecar}/", ssl=context, server_hostname="api.example"
            )


async def test_plaintext_to_an_inbound_port_is_refused(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    async with callee(tmp_path, state, TestAuthority(), ports):
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await get(ports.sidecar, "api.mesh")


@pytest.mark.parametrize(
    "identity",
    ["spiffe://elsewhere.test/ns/default/sa/web", f"spiffe://{TRUST_DOMAIN}.evil.test/ns/default/sa/web"],
)
async def test_a_caller_of_another_trust_domain_is_refused(
    tmp_path: Path, state: MeshState, ports: Ports, identity: str
) -> None:
    authority = TestAuthority()
    async with (
        callee(tmp_path, state, authority, ports) as server,
        caller(tmp_path, state, authority, identity),
    ):
        assert (await get(ports.outbound, "api.mesh"))[0] == 503
        assert await total(server, r"ssl\.fail_verify_san$") >= 1


async def test_a_foreign_authority_that_claims_our_trust_domain_is_refused(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    authority, foreign = TestAuthority(), TestAuthority("foreign")
    async with (
        callee(tmp_path, state, authority, ports) as server,
        caller(tmp_path, state, foreign, roots=authority.pem),
    ):
        assert (await get(ports.outbound, "api.mesh"))[0] == 503
        assert await total(server, r"ssl\.fail_verify_error$") >= 1


async def test_a_server_with_another_identity_than_the_callees_is_refused_by_the_caller(
    tmp_path: Path, state: MeshState, ports: Ports
) -> None:
    authority = TestAuthority()
    async with (
        callee(tmp_path, state, authority, ports, identity=WEB),
        caller(tmp_path, state, authority) as client,
    ):
        status, text = await get(ports.outbound, "api.mesh")
        assert status == 503
        assert "remote connection failure" in text
        assert await total(client, r"^cluster\.default/api_80\.ssl\.fail_verify_san$") >= 1
