"""Bundle endpoints of both profiles, over real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from ca.authority import TrustBundle
from ca.bundle_source import BundleEndpoint, BundleFile
from ca.errors import UnusableBundle
from ca.federation import spiffe_document
from ca.web import NoAnswer
from mesh.identity import Identity
from tests.support.ca_builders import Credentials, an_authority
from tests.support.ports import free_port

THEIRS = "b.example"
SERVER = Identity(THEIRS, "spire", "server")


@asynccontextmanager
async def serving(folder: Path, shown: Credentials, body: bytes, status: int = 200) -> AsyncIterator[str]:
    pair = folder / "server.pem"
    pair.write_bytes(shown.key + shown.chain)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    try:
        yield f"https://localhost:{port}/"
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)  # its transports close with the loop's next turn


async def test_a_server_of_the_web(tmp_path: Path) -> None:
    theirs = an_authority(tmp_path / "theirs", trust_domain=THEIRS)
    shown = await Credentials.issue(theirs, SERVER, None, dns_names=("localhost",))
    roots = tmp_path / "theirs" / "roots.pem"
    async with serving(tmp_path, shown, spiffe_document(theirs.roots(), 7)) as url:
        said = await BundleEndpoint(url, ca_file=roots).load(THEIRS, None)
        assert (said.bundle, said.refresh_hint) == (theirs.roots(), 7)
        with pytest.raises(NoAnswer):
            await BundleEndpoint(url).load(THEIRS, None)  # no authority of the web vouches for it
        with pytest.raises(NoAnswer):
            await BundleEndpoint(url.replace("localhost", "127.0.0.1"), ca_file=roots).load(THEIRS, None)
    with pytest.raises(NoAnswer):
        await BundleEndpoint(url, ca_file=roots).load(THEIRS, None)  # it is away


async def test_a_server_with_a_spiffe_id(tmp_path: Path) -> None:
    theirs = an_authority(tmp_path / "theirs", trust_domain=THEIRS)
    shown = await Credentials.issue(theirs, SERVER, None)
    held, document = theirs.roots(), spiffe_document(theirs.roots())
    async with serving(tmp_path, shown, document) as url:
        assert (await BundleEndpoint(url, SERVER.uri).load(THEIRS, held)).bundle == held
        with pytest.raises(NoAnswer, match="not proved"):
            await BundleEndpoint(url, f"spiffe://{THEIRS}/ns/spire/sa/other").load(THEIRS, held)
        with pytest.raises(NoAnswer, match="no bundle to begin with"):
            await BundleEndpoint(url, SERVER.uri).load(THEIRS, TrustBundle(THEIRS, ()))
        stranger = an_authority(tmp_path / "stranger", trust_domain=THEIRS)
        with pytest.raises(NoAnswer):
            await BundleEndpoint(url, SERVER.uri).load(THEIRS, stranger.roots())


@pytest.mark.parametrize(
    ("body", "status", "error"), [(b"nonsense", 200, UnusableBundle), (b"{}", 500, NoAnswer)]
)
async def test_a_server_that_says_nonsense(
    tmp_path: Path, body: bytes, status: int, error: type[Exception]
) -> None:
    theirs = an_authority(tmp_path / "theirs", trust_domain=THEIRS)
    shown = await Credentials.issue(theirs, SERVER, None)
    async with serving(tmp_path, shown, body, status) as url:
        with pytest.raises(error, match="localhost"):
            await BundleEndpoint(url, SERVER.uri).load(THEIRS, theirs.roots())


async def test_files(tmp_path: Path) -> None:
    theirs = an_authority(tmp_path / "theirs", trust_domain=THEIRS)
    assert await BundleFile(tmp_path / "theirs" / "roots.pem").load(THEIRS) == theirs.roots()
    for content in (None, b"nonsense", b"x" * 300_000):
        path = tmp_path / "wrong.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UnusableBundle, match=r"wrong\.pem"):
            await BundleFile(path).load(THEIRS)
