"""The kinds of keys that certificates are made for, and that sign them.

ECDSA P-256 unless somebody asks for another. Ed25519 is not among them: Envoy 1.40 shows such a certificate to who asks for one, but gRPC
does not (its handshake ends with "no suitable signature algorithm"): BoringSSL's clients, Envoy among them, do not offer it by default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class KeyType(StrEnum):
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"

    @property
    def slow(self) -> bool:
        """Whether making one takes 0.1 s and more, which is nothing for an event loop."""
        return self.name.startswith("RSA")


RSA_BITS: Final = (2048, 4096)
"""From and to: below is weak (NIST SP 800-131A), above is work for whoever has to verify."""
_CURVES: Final[dict[KeyType, type[ec.EllipticCurve]]] = {
    KeyType.ECDSA_P256: ec.SECP256R1,
    KeyType.ECDSA_P384: ec.SECP384R1,
}
_BITS: Final = {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
ACCEPTED: Final = "ECDSA on the curves P-256 or P-384, or RSA of 2048 to 4096 bits"


def new_key(kind: KeyType = KeyType.ECDSA_P256) -> PrivateKey:
    curve = _CURVES.get(kind)
    if curve is not None:
        return ec.generate_private_key(curve())
    return rsa.generate_private_key(65537, _BITS[kind])


def kind_of(key: PrivateKey) -> KeyType | None:
    """None for an RSA key of an unusual length."""
    if isinstance(key, rsa.RSAPrivateKey):
        return next((kind for kind, bits in _BITS.items() if bits == key.key_size), None)
    return next((kind for kind, curve in _CURVES.items() if isinstance(key.curve, curve)), None)


def public(key: object) -> PublicKey | None:
    """`key` if it is the public key of an accepted kind."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
        # A small or even exponent makes signatures that can be forged.
        return key if key.public_numbers().e == 65537 else None
    return None


def private(key: object) -> PrivateKey | None:
    """`key` if it is the private key of an accepted kind."""
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return None
    return None if public(key.public_key()) is None else key


def digest(signer: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """What `signer` signs with: as strong as its key."""
    strong = isinstance(signer, ec.EllipticCurvePrivateKey) and isinstance(signer.curve, ec.SECP384R1)
    return hashes.SHA384() if strong else hashes.SHA256()


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS #8. Without `passphrase` not encrypted: for a 0600 file or an SDS secret only."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
