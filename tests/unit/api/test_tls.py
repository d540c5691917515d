"""What the API shows in its handshakes follows what it is given, and a certificate that cannot be used changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from api.tls import FromFiles, Shown, context
from ca.builtin import BuiltinAuthority
from ca.control_plane import identity
from ca.times import system_clock
from tests.support.ca_builders import TRUST_DOMAIN, Credentials

HOST = "127.0.0.1"


def an_authority(path: Path) -> BuiltinAuthority:
    return BuiltinAuthority.open(path, TRUST_DOMAIN, system_clock)


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext) -> AsyncIterator[int]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def serial(port: int, roots: bytes, client: Path | None = None) -> int:
    tls = ssl.create_default_context(cadata=roots.decode())
    if client is not None:
        tls.load_cert_chain(client)
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls, server_hostname="localhost")
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        # In TLS 1.3 a client is done before its certificate is looked at.
        if await reader.read() != b"hello":
            raise ConnectionResetError
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


async def issued(authority: BuiltinAuthority) -> Credentials:
    return await Credentials.issue(authority, identity(TRUST_DOMAIN), None, dns_names=("localhost",))


async def test_files_are_read_again_and_a_broken_one_leaves_the_old(tmp_path: Path) -> None:
    authority = an_authority(tmp_path / "ours")
    roots = authority.roots().pem
    certificate, key = tmp_path / "api.pem", tmp_path / "api.key"

    async def renew() -> int:
        made = await issued(authority)
        key.write_bytes(made.key)
        certificate.write_bytes(made.chain)
        return x509.load_pem_x509_certificate(made.chain).serial_number

    first = await renew()
    async with serving(context(FromFiles(certificate, key, lambda: roots))) as port:
        assert await serial(port, roots) == first
        second = await renew()
        assert await serial(port, roots) == second
        certificate.write_text("nonsense")
        assert await serial(port, roots) == second
        certificate.unlink()
        assert await serial(port, roots) == second
        third = await renew()
        assert await serial(port, roots) == third


async def test_clients_are_held_against_the_newest_roots(tmp_path: Path) -> None:
    ours, other = an_authority(tmp_path / "ours"), an_authority(tmp_path / "other")
    server = await issued(ours)
    of = {}
    for name, authority in (("ours", ours), ("other", other)):
        made = await Credentials.issue(authority)
        of[name] = tmp_path / f"{name}.pem"
        of[name].write_bytes(made.key + made.chain)
    now = Shown(1, server.key, server.chain, ours.roots().pem)
    async with serving(context(lambda: now)) as port:
        await serial(port, ours.roots().pem, of["ours"])
        with pytest.raises((ssl.SSLError, OSError)):
            await serial(port, ours.roots().pem, of["other"])
        now = Shown(2, server.key, server.chain, other.roots().pem)
        await serial(port, ours.roots().pem, of["other"])
        with pytest.raises((ssl.SSLError, OSError)):
            await serial(port, ours.roots().pem, of["ours"])


async def test_what_is_wrong_at_the_start_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        context(FromFiles(tmp_path / "none.pem", tmp_path / "none.key", bytes))
