"""Where the trust bundle of a foreign trust domain comes from: a file, or a SPIFFE bundle endpoint.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Federation.md#5-spiffe-bundle-endpoint
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ca.authority import TrustBundle
from ca.errors import UnusableBundle
from ca.federation import SpiffeBundle, parse_file, parse_spiffe
from ca.web import NoAnswer, ask

MAXIMUM_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class BundleFile:
    """PEM, or a SPIFFE bundle."""

    path: Path

    async def load(self, trust_domain: str) -> TrustBundle:
        """UnusableBundle; also where the file can't be read."""
        try:
            content = await asyncio.to_thread(self._read)
        except OSError as error:
            raise UnusableBundle(f"{self.path} cannot be read: {error.strerror}") from None
        try:
            return parse_file(content, trust_domain)
        except UnusableBundle as error:
            raise UnusableBundle(f"{self.path}: {error}") from None

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
        if len(content) > MAXIMUM_BYTES:
            raise UnusableBundle(f"{self.path} has more than {MAXIMUM_BYTES} bytes")
        return content


@dataclass(frozen=True, slots=True)
class BundleEndpoint:
    """`spiffe_id` None is the profile https_web: the server proves the host of `url`, to the system's authorities or those of
    `ca_file`. Otherwise https_spiffe: it proves to be `spiffe_id`, by the bundle that is held of the trust domain.
    """

    url: str
    spiffe_id: str | None = None
    ca_file: Path | None = None

    async def load(self, trust_domain: str, held: TrustBundle | None) -> SpiffeBundle:
        """NoAnswer where the server does not answer, or is not who it has to be; UnusableBundle for what it says."""
        if self.spiffe_id is None:
            answer = await ask(self.url, ca_file=self.ca_file)
        else:
            answer = await ask(self.url, tls=_only(self.spiffe_id, held, self.url))
        if answer.status != 200:
            raise NoAnswer(f"{self.url} answered {answer.status}")
        try:
            return parse_spiffe(answer.body, trust_domain)
        except UnusableBundle as error:
            raise UnusableBundle(f"{self.url}: {error}") from None


def _only(spiffe_id: str, held: TrustBundle | None, url: str) -> ssl.SSLContext:
    """Lets a handshake succeed with `spiffe_id` alone. Its name is no host's, of which `ssl` itself knows nothing."""
    if held is None or not held.roots:
        raise NoAnswer(f"{url} can't be verified: there is no bundle to begin with")

    class Proved(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = (self.getpeercert() or {}).get("subjectAltName", ())
            uris = [name[1] for name in shown if isinstance(name, tuple) and name[0] == "URI"]
            if uris != [spiffe_id]:
                raise ssl.SSLCertVerificationError(f"the server has not proved to be {spiffe_id}")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=held.pem.decode())
    context.sslobject_class = Proved
    return context
