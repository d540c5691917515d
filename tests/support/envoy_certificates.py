"""A test's own certificate authorities, and the secrets that Envoy would get from ours. Keys never leave memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Leaf:
    certificate: bytes
    key: bytes


class TestAuthority:
    """One root that signs leaves directly."""

    __test__ = False  # no test, for pytest

    def __init__(self, name: str = "test root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._root = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self._root.public_bytes(serialization.Encoding.PEM)

    def leaf(self, uri: str) -> Leaf:
        """A certificate whose one name is `uri`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([]), self._name, key.public_key())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        certificate = builder.add_extension(names, critical=True).sign(self._key, hashes.SHA256())
        return Leaf(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def secrets(self, uri: str, roots: bytes | None = None) -> tuple[Secret, Secret]:
        """`identity` of `uri`, and `roots`: this authority's own unless others are given."""
        leaf = self.leaf(uri)
        identity = Secret(name="identity")
        identity.tls_certificate.certificate_chain.inline_bytes = leaf.certificate
        identity.tls_certificate.private_key.inline_bytes = leaf.key
        trusted = Secret(name="roots")
        trusted.validation_context.trusted_ca.inline_bytes = self.pem if roots is None else roots
        return identity, trusted


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
