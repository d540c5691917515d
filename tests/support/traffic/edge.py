"""A gateway for tests: certificates for host names, documents, and clients that come from outside the mesh."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.ports import LOOPBACK
from tests.support.traffic.applying import AppliedFile
from tests.support.traffic.client import Answer
from tests.support.traffic.sidecars import Sidecar
from tests.support.traffic.tcp_side import TcpConnection, connected
from tests.support.traffic.world import Traffic, World

DAY = timedelta(days=1)
PEM = serialization.Encoding.PEM


class PublicAuthority:
    """An authority outside the mesh, that signs certificates for host names and for clients."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        # Each has a name of its own: of two of one name, whoever verifies may try the wrong one alone.
        name = f"a public authority, {x509.random_serial_number():x}"[:64]
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self._root = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self._root.public_bytes(PEM)

    def issue(self, certificate: Path, key: Path, *names: str) -> int:
        """Write a new certificate for DNS `names`, and its key, in the manner of those who renew in place. Returns its serial number."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = self._builder(subject, private.public_key()).add_extension(alternatives, critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        certificate.write_bytes(made.public_bytes(PEM))
        key.touch(mode=0o600)
        key.write_bytes(
            private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return made.serial_number

    def client(self) -> ssl.SSLContext:
        """What a client trusts that trusts this authority."""
        return ssl.create_default_context(cadata=self.pem.decode())

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )


def documents(name: str, listeners: str, *, more: str = "") -> str:
    """A Gateway with `listeners` (YAML, a block list of two spaces) and `more` of its spec, and the workload `<name>-1` that plays it."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: meshwright
  {more}
  listeners:
{listeners}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: {name}-1}}
spec: {{gateway: {name}, address: 127.0.0.1, serviceAccount: {name}}}
"""


@dataclass(slots=True)
class Outside:
    """Clients outside the mesh. `ports` are those of the gateway, by a word of the test's; `text` is what `file` says."""

    world: World
    proxy: Sidecar
    file: AppliedFile
    text: str
    ports: dict[str, int]
    authority: PublicAuthority = field(default_factory=PublicAuthority)

    async def get(
        self, url: str, port: str = "http", *, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> Answer:
        """Plain HTTP; `url`'s host becomes the Host header."""
        via = self.world.members["web-1"]
        return await self.world.client.request(
            method, url, via=via, headers=headers or {}, port=self.ports[port]
        )

    async def get_tls(
        self,
        host: str,
        port: str = "https",
        *,
        path: str = "/",
        context: ssl.SSLContext | None = None,
        sni: str | None = None,
    ) -> dict[str, Any]:
        """HTTPS on a connection of its own, for the server name `sni` (None: the host); `status` and the answer's JSON or text. OSError, of
        which ssl.SSLError is one, if there is none.
        """
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(
                f"https://{LOOPBACK}:{self.ports[port]}{path}",
                headers={"host": host},
                ssl=context or self.authority.client(),
                server_hostname=sni or host,
            ) as answer,
        ):
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            found: dict[str, Any] = await answer.json() if is_json else {"text": text}
            return {"status": answer.status, **found}

    async def serial(self, name: str, port: str = "https") -> int:
        """The serial number of the certificate that is shown for a server name."""
        async with self.tls(name, port) as (_, writer):
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(shown).serial_number

    @contextlib.asynccontextmanager
    async def tls(
        self, name: str, port: str = "https"
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A TLS connection with a server name."""
        reader, writer = await asyncio.open_connection(
            LOOPBACK, self.ports[port], ssl=self.authority.client(), server_hostname=name
        )
        try:
            yield reader, writer
        finally:
            writer.close()
            # The gateway may have ended it already, which the test has seen.
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    def tcp(self, port: str = "tcp") -> contextlib.AbstractAsyncContextManager[TcpConnection]:
        return connected(self.ports[port])


@contextlib.asynccontextmanager
async def gateway(
    world: World, name: str, text: str, ports: dict[str, int], authority: PublicAuthority
) -> AsyncIterator[Outside]:
    """`text` is in force and the gateway's proxy runs within the block."""
    async with world.applier.apply(text) as file, Traffic(world).proxy(f"{name}-1", name) as proxy:
        yield Outside(world, proxy, file, text, ports, authority)
