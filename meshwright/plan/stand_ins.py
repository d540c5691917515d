"""Secrets that stand in for the real ones, where a configuration is only checked: what is checked then holds no key of anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ca.secrets import IDENTITY, ROOTS
from envoy import names
from meshwright.scopes import Authorities, EdgeSecrets, Scope
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret


@dataclass(frozen=True, slots=True)
class StandIn:
    """A certificate that nobody trusts, with its key; it is its own authority."""

    certificate: bytes
    key: bytes

    @classmethod
    def made(cls, now: datetime) -> StandIn:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def secrets(self, scopes: Iterable[Scope]) -> Iterator[Secret]:
        """One of each name that a client with these scopes may be sent."""
        certificates, authorities = {IDENTITY}, {ROOTS}
        for scope in scopes:
            if isinstance(scope, EdgeSecrets | Authorities):
                certificates.update(map(names.gateway_certificate, scope.certificates))
                authorities.update(names.gateway_authorities(*bundle) for bundle in scope.bundles)
        for name in sorted(certificates):
            secret = Secret(name=name)
            secret.tls_certificate.certificate_chain.inline_bytes = self.certificate
            secret.tls_certificate.private_key.inline_bytes = self.key
            yield secret
        for name in sorted(authorities):
            secret = Secret(name=name)
            secret.validation_context.trusted_ca.inline_bytes = self.certificate
            yield secret
