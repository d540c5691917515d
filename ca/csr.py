"""Certificate signing requests: what is accepted, and how ours are made.

A request carries a public key and the proof that its sender holds the private one, and nothing else. Who the key belongs
to is decided by the proof beside the request, never by the request: one that names a subject or asks for extensions
is refused, so that nobody can believe the name was honoured.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from ca import keys
from ca.errors import CsrRefused
from ca.keys import PrivateKey, PublicKey

MAXIMUM_BYTES = 4096
"""Above a request with an RSA key of 4096 bits (about 1.1 KB), far below what would be work to parse."""

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A request that passed `check_csr`. `der` is PKCS #10."""

    der: bytes
    public_key: PublicKey


def make_csr(key: PrivateKey) -> SigningRequest:
    """The request for `key`: no subject, no extensions."""
    csr = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([])).sign(key, keys.digest(key))
    return SigningRequest(csr.public_bytes(serialization.Encoding.DER), key.public_key())


def check_csr(der: bytes) -> SigningRequest:
    """`der` (PKCS #10) as a request that may be signed; CsrRefused otherwise."""
    if len(der) > MAXIMUM_BYTES:
        raise CsrRefused(f"the CSR has {len(der)} bytes: at most {MAXIMUM_BYTES} are accepted")
    try:
        csr = x509.load_der_x509_csr(der)
        key = keys.public(csr.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CsrRefused("the CSR is not PKCS #10 in DER with a key that can be read") from error
    if key is None:
        raise CsrRefused(f"the CSR's key is not {keys.ACCEPTED}: make one of these kinds")
    try:
        acceptable = isinstance(csr.signature_hash_algorithm, _HASHES) and csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        acceptable = False  # an unknown algorithm is one that cannot be verified
    if not acceptable:
        raise CsrRefused("the CSR is not signed by its own key with SHA-256 or stronger")
    try:
        bare = not list(csr.subject) and not list(csr.attributes)
    except ValueError:
        bare = False
    if not bare:
        raise CsrRefused(
            "the CSR names a subject or asks for extensions: leave both out, the identity comes from the proof"
        )
    return SigningRequest(der, key)
