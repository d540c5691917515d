"""Certificates that no library would write: good ones of which some bytes are others. Their signatures are wrong then; who reads them
does not come that far.
"""

from __future__ import annotations

from ssl import DER_cert_to_PEM_cert

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

P256 = bytes.fromhex("06082a8648ce3d030107")
NO_CURVE = bytes.fromhex("06082a8648ce3d030163")
"""Of the same length as that of P-256, and nobody's."""
V3 = bytes.fromhex("a003020102")
V8 = bytes.fromhex("a003020107")


def of_an_unknown_curve(pem: bytes) -> bytes:
    """The first certificate of `pem`, whose key is of P-256, with another curve."""
    return _with(pem, P256, NO_CURVE)


def of_an_unknown_version(pem: bytes) -> bytes:
    """The first certificate of `pem` with a version that X.509 does not have."""
    return _with(pem, V3, V8)


def _with(pem: bytes, old: bytes, new: bytes) -> bytes:
    der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert old in der
    return DER_cert_to_PEM_cert(der.replace(old, new, 1)).encode()
