"""What is read of a certificate, in one place."""

from __future__ import annotations

from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

E = TypeVar("E", bound=x509.ExtensionType)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER, in hexadecimal: a `ca.rotation.RootId`."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """None if it has none. Extensions that cannot be read, or come twice, are ValueError, `x509.DuplicateExtension` or
    `x509.UnsupportedGeneralNameType`.
    """
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def uris(certificate: x509.Certificate) -> list[str]:
    """The URIs among its alternative names. Errors as `extension`."""
    names = extension(certificate, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
