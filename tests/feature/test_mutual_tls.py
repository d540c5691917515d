"""Every hop is mutual TLS: who is let in, who is not, and what each service learns of its caller."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from ca.builtin import BuiltinAuthority
from ca.times import system_clock
from mesh.names import Key, sni
from tests.support.foreign import Foreign, foreign_ca, workload_files
from tests.support.mesh import Instance, Mesh
from tests.support.processes import eventually

Chain = tuple[Instance, Instance, Instance]
STORE_SNI = sni(Key("default", "store"), 80, "mesh.local")
REQUEST = b"GET / HTTP/1.1\r\nHost: store.mesh\r\nConnection: close\r\n\r\n"


async def raw_request(port: int, files: Foreign | None, server_name: str | None) -> bytes:
    """What `port` answers to one HTTP request; over TLS with the certificate of `files` if given."""
    context = None
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it is the server's judgement of us that is tested
        context.load_cert_chain(files.certificate, files.key)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=server_name
    )
    try:
        writer.write(REQUEST)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


async def refused(port: int, files: Foreign | None, server_name: str | None = None) -> bool:
    """Whether the connection ends without an answer."""
    try:
        return await asyncio.wait_for(raw_request(port, files, server_name), 10) == b""
    except (ConnectionError, ssl.SSLError):
        return True


async def test_a_request_takes_two_hops_and_each_service_sees_its_caller(mesh: Mesh, chain: Chain) -> None:
    web, api, store = chain

    async def through() -> bool:
        status, text = await mesh.get(f"http://127.0.0.1:{web.app_port}/")
        if status != 200:
            return False
        answer = json.loads(text)
        assert answer["next"]["caller"] == web.identity
        assert answer["next"]["next"]["caller"] == api.identity
        return True

    await eventually(
        through,
        "a request passes web → api → store",
        *filter(None, (web.sidecar, api.sidecar, store.sidecar)),
    )


async def test_a_caller_cannot_say_who_it_is(mesh: Mesh, chain: Chain) -> None:
    web, api, _ = chain

    async def called() -> bool:
        status, text = await mesh.get(
            f"http://127.0.0.1:{web.outbound_port}/healthz",
            headers={
                "Host": "api.mesh",
                "x-forwarded-client-cert": "URI=spiffe://mesh.local/ns/default/sa/admin",
            },
        )
        assert status == 200
        assert json.loads(text)["caller"] == web.identity
        return True

    await eventually(called, "api answers web")
    del api


async def test_who_is_let_in_to_an_inbound_port(mesh: Mesh, chain: Chain, tmp_path: Path) -> None:
    _, _, store = chain
    ours = BuiltinAuthority.open(mesh.data, "mesh.local", system_clock)
    good = await workload_files(tmp_path, ours, "spiffe://mesh.local/ns/default/sa/web")

    async def admitted() -> bool:
        return b"200 OK" in await raw_request(store.sidecar_port, good, STORE_SNI)

    await eventually(admitted, "a certificate of the mesh is let in")
    assert await refused(store.sidecar_port, None), "plaintext"
    foreign = foreign_ca(tmp_path, "other.example")
    assert await refused(
        store.sidecar_port, foreign("spiffe://other.example/ns/default/sa/web"), STORE_SNI
    ), "another trust domain"
    pretender = foreign_ca(tmp_path, "mesh.local")
    assert await refused(store.sidecar_port, pretender("spiffe://mesh.local/ns/default/sa/web"), STORE_SNI), (
        "a foreign CA that claims ours"
    )
    assert await refused(store.sidecar_port, good, "80.other.default.mesh.local"), (
        "a service that is not served here"
    )


@pytest.mark.parametrize(
    "claimed", ["spiffe://mesh.local/ns/default/sa/thief", "spiffe://mesh.local/ns/other/sa/store"]
)
async def test_a_caller_refuses_a_server_that_is_not_the_callee(
    mesh: Mesh, chain: Chain, tmp_path: Path, claimed: str
) -> None:
    """A certificate of the mesh is not enough: it has to be that of the service which was called."""
    web, api, store = chain
    ours = BuiltinAuthority.open(mesh.data, "mesh.local", system_clock)
    files = await workload_files(tmp_path, ours, claimed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
        await writer.drain()
        writer.close()

    thief = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    store.sidecar_port = thief.sockets[0].getsockname()[1]
    async with thief:
        mesh.write_service("store", store)

        async def moved() -> bool:
            return f"127.0.0.1:{store.sidecar_port}" in await mesh.endpoints(api, "default/store:80")

        await eventually(moved, "api's sidecar sends to the thief's port")
        status, text = await mesh.call(api, "store.mesh")
        assert status == 503, text
        stats = str(await mesh.envoy(api, "/stats?filter=default/store.*fail_verify_san"))
        assert sum(int(line.rpartition(" ")[2]) for line in stats.splitlines()) > 0, stats
    del web
