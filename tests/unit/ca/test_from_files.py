"""An intermediate that somebody else's root has signed: what is accepted, and how files are replaced while it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from ca.errors import DamagedAuthority, InsecureFile, WrongTrustDomain
from ca.from_files import AuthorityFiles, FilesAuthority
from ca.keys import PrivateKey, new_key
from ca.times import system_clock
from tests.support.ca_builders import API, TRUST_DOMAIN, a_leaf_request
from tests.support.corporate import Corporate, pem, signed, written

PASSPHRASE = b"correct horse battery staple"


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
    assert not await authority.look()
    where = corporate.write(tmp_path)  # a new intermediate of the same root
    assert not await authority.look(), "the bundle is the same"
    serial = x509.load_pem_x509_certificates(where.chain.read_bytes())[0].serial_number
    assert (
        x509.load_pem_x509_certificates((await authority.issue(a_leaf_request())).chain_pem)[1].serial_number
        == serial
    )
    where.roots.write_bytes(pem(corporate.root) + pem(other.root))
    assert await authority.look()
    assert len(authority.roots().roots) == 2
    where.roots.write_bytes(pem(other.root))  # too early: the chain still leads to the old one
    assert not await authority.look()
    assert "does not lead to any root" in authority.problem
    assert len(authority.roots().roots) == 2, "what was read before is in force"
    await authority.issue(a_leaf_request())
    other.write(tmp_path)
    assert await authority.look()
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
