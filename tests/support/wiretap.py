"""What goes over the wire between a proxy and the control plane, in plaintext; and where a private key may be found in bytes.

A `Tap` is for the test of secrecy: it ends the TLS of both sides with credentials of the authority and of the workload, which nobody
but a test has, and keeps every byte that passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.identity_store import IdentityStore
from ca import control_plane
from ca.authority import Authority, LeafRequest
from ca.csr import make_csr
from ca.keys import key_pem, new_key
from tests.support.mesh import LOOPBACK
from tests.support.ports import free_port


class Tap:
    """Stands before the control plane's port `target`. `folder`: of the agent whose identity is shown to it, if it has one yet."""

    def __init__(self, target: int, certificate: Path, folder: Path) -> None:
        self.port = free_port()
        self.seen = bytearray()
        self._target = target
        self._certificate = certificate
        self._store = IdentityStore(folder)
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def mend(self) -> None:
        """Listen, also again."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        context.set_alpn_protocols(["h2"])
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, ssl=context)

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Be as the control plane is that ended: connections end, and nobody listens."""
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):  # either side may end at any time
                await self._pass(reader, writer)
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(LOOPBACK, self._target, ssl=self._client())
        try:
            ways = [self._copy(reader, onward[1]), self._copy(onward[0], writer)]
            tasks = [asyncio.create_task(each) for each in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in tasks:
                    each.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            onward[1].close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.seen += data
            writer.write(data)
            await writer.drain()

    def _client(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        paths = self._store.paths()
        if paths.key.exists():
            context.load_cert_chain(paths.chain, paths.key)
        return context


async def server_credentials(authority: Authority, path: Path) -> Path:
    """A key and a certificate by which a test can be taken for the control plane."""
    key, trust_domain = new_key(), authority.roots().trust_domain
    request = LeafRequest(
        control_plane.identity(trust_domain),
        make_csr(key),
        dns_names=(control_plane.server_name(trust_domain),),
    )
    issued = await authority.issue(request)
    path.touch(mode=0o600)
    path.write_bytes(key_pem(key) + issued.chain_pem)
    return path


def forms(pem: bytes) -> frozenset[bytes]:
    """What a private key (P-256) looks like: its number, DER, and the lines of PEM that hold it."""
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    number = key.private_numbers().private_value
    lines = key_pem(key).split(b"\n")[1:3]
    return frozenset({der, number.to_bytes(32, "big"), number.to_bytes(32, "little"), *lines})


def found(keys: frozenset[bytes], haystack: bytes | bytearray) -> bool:
    return any(each in haystack for each in keys)


def memory(pid: int) -> Iterator[bytes]:
    """The writable memory of a process of ours, region by region."""
    regions = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for region in regions:
            span, rights = region.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            with contextlib.suppress(OSError):  # it has been given back meanwhile
                file.seek(start)
                content = bytearray()
                while len(content) < end - start and (part := file.read(end - start - len(content))):
                    content += part  # one read may be short
                yield bytes(content)
