"""A key that signs certificates, with its own; and how both are kept on the disk, sealed if the operator gave a passphrase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ca import files, keys
from ca.certificate import fingerprint, pem
from ca.errors import DamagedAuthority, SealedAuthority
from ca.keys import KeyType, PrivateKey, key_pem
from ca.rotation import RootId

ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing certificate and its key. The key is shown by no repr."""

    key: PrivateKey
    certificate: x509.Certificate

    def __repr__(self) -> str:
        return f"Signer({self.certificate.subject.rfc4514_string()}, key=…)"

    @property
    def certificate_pem(self) -> bytes:
        return pem(self.certificate)

    @property
    def id(self) -> RootId:
        return fingerprint(self.certificate)

    def sign(self, unsigned: x509.CertificateBuilder) -> x509.Certificate:
        return unsigned.sign(self.key, keys.digest(self.key))

    def fresh(self, now: datetime) -> bool:
        """Whether it is valid already, and not past half of its life."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return begin <= now < begin + (end - begin) / 2


@dataclass(frozen=True, slots=True)
class Signers:
    """How signers are made and kept.

    `kind` is that of new keys. With `passphrase` keys are encrypted on the disk (PKCS #8, PBES2 with AES-256), those that were there
    before as well, when they are read next.
    """

    serials: Callable[[], int] = x509.random_serial_number
    kind: KeyType = KeyType.ECDSA_P256
    passphrase: bytes | None = field(default=None, repr=False)

    def write(self, path: Path, signer: Signer) -> None:
        """Key and certificate are one file that is replaced whole, so that a crash cannot part them."""
        files.write_atomically(path, key_pem(signer.key, self.passphrase) + signer.certificate_pem)

    def read(self, path: Path) -> Signer:
        """FileNotFoundError, InsecureFile, SealedAuthority, or DamagedAuthority if the file is not a key with its certificate."""
        content = files.read_private(path)
        sealed = ENCRYPTED in content
        if sealed and self.passphrase is None:
            raise SealedAuthority(f"{path} is encrypted: give its passphrase, see setting ca_passphrase_file")
        damaged = f"{path} does not hold a key and its certificate: restore it from a backup"
        try:
            certificate = x509.load_pem_x509_certificate(content)
        except (ValueError, x509.InvalidVersion):
            raise DamagedAuthority(damaged) from None  # the cause might quote the content
        try:
            key = keys.private(
                serialization.load_pem_private_key(content, self.passphrase if sealed else None)
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            if sealed:
                raise SealedAuthority(
                    f"{path} cannot be decrypted: is this the passphrase that it was encrypted with?"
                ) from None
            raise DamagedAuthority(damaged) from None
        if key is None or certificate.public_key() != key.public_key():
            raise DamagedAuthority(damaged)
        signer = Signer(key, certificate)
        if self.passphrase is not None and not sealed:
            self.write(path, signer)
        return signer
