"""A certificate authority outside the mesh, and the TLS of servers that it vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class OutsideAuthority:
    """Its files are in `folder`: `ca_file`, and for each name that was certified `<name>.pem` and `<name>.key`."""

    def __init__(self, folder: Path, name: str = "outside") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = self._built(self._subject, self._key.public_key()).add_extension(constraints, critical=True)
        self.ca_file = folder / f"{name}-ca.pem"
        self.ca_file.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def certify(self, *names: str, uris: Sequence[str] = ()) -> tuple[Path, Path]:
        """A certificate for DNS names and URIs, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        said = (*map(x509.DNSName, names), *map(x509.UniformResourceIdentifier, uris))
        alternatives = x509.SubjectAlternativeName(said)
        made = self._built(subject, key.public_key()).add_extension(alternatives, critical=False)
        stem = names[0].replace("*", "any")
        chain, private = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        chain.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return chain, private

    def server(self, *names: str, clients: bool = False, uris: Sequence[str] = ()) -> ssl.SSLContext:
        """For a server of those names and URIs; with `clients`, only for clients that show a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certify(*names, uris=uris))
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        return context

    def _built(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )
