"""An intermediate that somebody else's root has signed: what is accepted, and how files are replaced while it runs."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ca import profile
from ca.errors import DamagedAuthority, InsecureFile, WrongTrustDomain
from ca.from_files import AuthorityFiles, FilesAuthority
from ca.keys import PrivateKey, key_pem, new_key
from ca.times import system_clock
from tests.support.ca_builders import API, TRUST_DOMAIN, a_leaf_request

PASSPHRASE = b"correct horse battery staple"


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


def opened(where: AuthorityFiles, passphrase: bytes | None = None) -> FilesAuthority:
    return FilesAuthority.open(where, TRUST_DOMAIN, system_clock, passphrase=passphrase)


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "encrypted"])
async def test_its_leaves_hold_before_openssl_with_the_whole_chain(
    tmp_path: Path, passphrase: bytes | None
) -> None:
    corporate = Corporate()
    where = corporate.write(tmp_path, passphrase=passphrase)
    authority = opened(where, passphrase)
    assert authority.roots().pem == pem(corporate.root)
    issued = await authority.issue(a_leaf_request())
    leaf, *between = x509.load_pem_x509_certificates(issued.chain_pem)
    assert [each.subject.rfc4514_string() for each in between] == ["CN=mesh", "CN=Corp policy"]
    (tmp_path / "leaf.pem").write_bytes(issued.chain_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "roots.pem"]
    ran = subprocess.run(
        [*command, "-untrusted", "leaf.pem", "leaf.pem"], cwd=tmp_path, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [API.uri]


async def test_files_are_replaced_while_it_runs(tmp_path: Path) -> None:
    corporate, other = Corporate(), Corporate("Other")
    authority = opened(corporate.write(tmp_path))
    assert not authority.look()
    where = corporate.write(tmp_path)  # a new intermediate of the same root
    assert not authority.look(), "the bundle is the same"
    serial = x509.load_pem_x509_certificates(where.chain.read_bytes())[0].serial_number
    assert (
        x509.load_pem_x509_certificates((await authority.issue(a_leaf_request())).chain_pem)[1].serial_number
        == serial
    )
    where.roots.write_bytes(pem(corporate.root) + pem(other.root))
    assert authority.look()
    assert len(authority.roots().roots) == 2
    where.roots.write_bytes(pem(other.root))  # too early: the chain still leads to the old one
    assert not authority.look()
    assert "does not lead to any root" in authority.problem
    assert len(authority.roots().roots) == 2, "what was read before is in force"
    await authority.issue(a_leaf_request())
    other.write(tmp_path)
    assert authority.look()
    assert (authority.roots().pem, authority.problem) == (pem(other.root), "")


def test_what_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path) -> None:
    corporate = Corporate()
    key = new_key()
    above = (corporate.middle, corporate.middle_key)
    good = signed("mesh", key, above, 0)
    cases: list[tuple[list[x509.Certificate], PrivateKey, type[Exception], str]] = [
        ([good, corporate.middle], new_key(), DamagedAuthority, "is not that of the first certificate"),
        ([corporate.middle, good], key, DamagedAuthority, "is not that of the first certificate"),
        (
            [signed("leaf", key, above, 0, ca=False), corporate.middle],
            key,
            DamagedAuthority,
            "CN=leaf may not sign",
        ),
        ([good], key, DamagedAuthority, "does not lead to any root"),
        ([good, corporate.root], key, DamagedAuthority, "CN=mesh is not signed by the certificate after it"),
        (
            [signed("m", key, above, 0, uri="spiffe://other.org"), corporate.middle],
            key,
            WrongTrustDomain,
            "an intermediate of spiffe://other.org",
        ),
    ]
    for chain, private, error, says in cases:
        where = written(tmp_path, chain, private, [corporate.root])
        with pytest.raises(error, match=says):
            opened(where)
    where = written(tmp_path, [good, corporate.middle], key, [corporate.root])
    where.key.chmod(0o644)
    with pytest.raises(InsecureFile):
        opened(where)
    where.key.chmod(0o600)
    where.chain.write_text("not PEM")
    with pytest.raises(DamagedAuthority, match="does not hold certificates"):
        opened(where)
    where = corporate.write(tmp_path, passphrase=PASSPHRASE)
    for passphrase in (None, b"another"):
        with pytest.raises(DamagedAuthority, match="see setting ca_passphrase_file") as caught:
            opened(where, passphrase)
        assert "horse" not in str(caught.value)
