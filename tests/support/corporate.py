"""A company's authority of the old kind, and the files of an intermediate that it has signed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ca import profile
from ca.from_files import AuthorityFiles
from ca.keys import PrivateKey, key_pem, new_key
from ca.times import system_clock


class Corporate:
    """An authority of the old kind: a root, a policy authority below it, and what these sign. It has never heard of SPIFFE."""

    def __init__(self, name: str = "Corp") -> None:
        self.root_key, self.middle_key = new_key(), new_key()
        self.root = signed(f"{name} root", self.root_key, None, 2)
        self.middle = signed(f"{name} policy", self.middle_key, (self.root, self.root_key), 1)

    def write(self, folder: Path, *, passphrase: bytes | None = None) -> AuthorityFiles:
        key = new_key()
        intermediate = signed("mesh", key, (self.middle, self.middle_key), 0)
        return written(folder, [intermediate, self.middle], key, [self.root], passphrase)


def signed(
    name: str,
    key: PrivateKey,
    by: tuple[x509.Certificate, PrivateKey] | None,
    path_length: int,
    *,
    ca: bool = True,
    uri: str | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = system_clock()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True)
        .add_extension(profile._key_usage(signs_certificates=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if by is not None:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(by[0].public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(above, critical=False)
    if uri is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
        )
    return builder.sign(key if by is None else by[1], hashes.SHA256())


def written(
    folder: Path,
    chain: list[x509.Certificate],
    key: PrivateKey,
    roots: list[x509.Certificate],
    passphrase: bytes | None = None,
) -> AuthorityFiles:
    """Each file replaced whole, as whatever renews them does."""
    where = AuthorityFiles(folder / "chain.pem", folder / "key.pem", folder / "roots.pem")
    for path, content in (
        (where.chain, b"".join(map(pem, chain))),
        (where.key, key_pem(key, passphrase)),
        (where.roots, b"".join(map(pem, roots))),
    ):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o600)
        new.replace(path)
    return where


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
