"""Kinds of keys: what is made, what is accepted, and that certificates of each hold before two independent verifiers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import ClientVerifier, ExtensionPolicy, PolicyBuilder, Store

from ca.authority import LeafRequest
from ca.builtin import BuiltinAuthority
from ca.csr import check_csr, make_csr
from ca.errors import CsrRefused, DamagedAuthority, SealedAuthority
from ca.keys import KeyType, digest, key_pem, kind_of, new_key, private
from ca.signer import ENCRYPTED, Signers
from ca.times import system_clock
from tests.support.ca_builders import API, API_1, TRUST_DOMAIN, a_leaf_request, signed_request

KINDS = list(KeyType)
OLD, PASSPHRASE = Signers(), Signers(passphrase=b"correct horse battery staple")


def opened(directory: Path, signers: Signers = OLD) -> BuiltinAuthority:
    return BuiltinAuthority.open(directory, TRUST_DOMAIN, system_clock, signers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_of_its_kind_and_its_csr_is_accepted(kind: KeyType) -> None:
    key = new_key(kind)
    assert kind_of(key) is kind
    assert check_csr(make_csr(key).der).public_key == key.public_key()
    assert digest(key).name == ("sha384" if kind is KeyType.ECDSA_P384 else "sha256")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(3, 2048),
        ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["rsa-exponent-3", "p-521"],
)
def test_other_keys_are_refused_with_those_that_are_accepted(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    assert private(key) is None
    with pytest.raises(CsrRefused, match="ECDSA on the curves P-256 or P-384, or RSA of 2048 to 4096 bits"):
        check_csr(signed_request(key))


@pytest.mark.parametrize("kind", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048])
async def test_openssl_and_cryptography_verify_what_each_kind_signs(tmp_path: Path, kind: KeyType) -> None:
    authority = opened(tmp_path, Signers(kind=kind))
    for leaf_kind in (KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048):
        key = new_key(leaf_kind)
        issued = await authority.issue(LeafRequest(API, make_csr(key), API_1))
        leaf, *between = x509.load_pem_x509_certificates(issued.chain_pem)
        roots = x509.load_pem_x509_certificates(authority.roots().pem)
        found = verifier(roots).verify(leaf, between)
        uris = [
            name.value for name in found.subjects or [] if isinstance(name, x509.UniformResourceIdentifier)
        ]
        assert uris == [API.uri]
        await openssl(tmp_path, issued.chain_pem, authority.roots().pem)


def verifier(roots: list[x509.Certificate]) -> ClientVerifier:
    """RFC 5280 as `cryptography` reads it. The profiles that it has by itself are those of the web, where a name is a DNS name."""
    policy = ExtensionPolicy.permit_all().require_present(
        x509.SubjectAlternativeName, x509.verification.Criticality.AGNOSTIC, None
    )
    return (
        PolicyBuilder()
        .store(Store(roots))
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=policy)
        .build_client_verifier()
    )


async def openssl(directory: Path, chain: bytes, roots: bytes) -> None:
    (directory / "leaf.pem").write_bytes(chain)
    (directory / "chain.pem").write_bytes(chain)
    (directory / "trusted.pem").write_bytes(roots)
    for purpose in ("sslserver", "sslclient"):
        ran = await asyncio.create_subprocess_exec(
            *("openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "trusted.pem"),
            *("-untrusted", "chain.pem", "leaf.pem"),
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await ran.communicate()
        assert ran.returncode == 0, said.decode()


async def test_the_profile_of_each_certificate_is_that_of_its_use(tmp_path: Path) -> None:
    authority = opened(tmp_path)
    issued = await authority.issue(a_leaf_request())
    leaf, between = x509.load_pem_x509_certificates(issued.chain_pem)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert between.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_keys_at_rest_are_encrypted_and_old_ones_become_so(tmp_path: Path) -> None:
    plain = opened(tmp_path).roots()
    assert ENCRYPTED not in (tmp_path / "ca" / "root.pem").read_bytes()
    assert opened(tmp_path, PASSPHRASE).roots() == plain
    for name in ("root.pem", "intermediate.pem"):
        content = (tmp_path / "ca" / name).read_bytes()
        assert ENCRYPTED in content
        assert b"BEGIN PRIVATE KEY" not in content
    assert opened(tmp_path, PASSPHRASE).roots() == plain
    assert "horse" not in repr(PASSPHRASE)


@pytest.mark.parametrize(
    ("signers", "says"),
    [
        (OLD, "is encrypted: give its passphrase"),
        (Signers(passphrase=b"another passphrase"), "cannot be decrypted"),
    ],
    ids=["none", "wrong"],
)
def test_without_the_passphrase_nothing_is_made_anew(tmp_path: Path, signers: Signers, says: str) -> None:
    opened(tmp_path, PASSPHRASE)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir() if path.suffix == ".pem"}
    with pytest.raises(SealedAuthority, match=says):
        opened(tmp_path, signers)
    assert before == {
        path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir() if path.suffix == ".pem"
    }


def test_a_key_of_another_certificate_is_damage(tmp_path: Path) -> None:
    opened(tmp_path)
    path = tmp_path / "ca" / "root.pem"
    certificate = path.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    path.write_bytes(key_pem(new_key()) + certificate[1] + certificate[2])
    with pytest.raises(DamagedAuthority, match="does not hold a key and its certificate"):
        opened(tmp_path)


@pytest.mark.parametrize("kind", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048])
async def test_a_linter_finds_nothing(tmp_path: Path, kind: KeyType) -> None:
    """pkilint, for RFC 5280. It takes a URI for invalid whose scheme it does not know, as `spiffe` (RFC 3986 has no list of schemes)."""
    authority = opened(tmp_path, Signers(kind=kind))
    proxy = await authority.issue(a_leaf_request())
    server = await authority.issue(a_leaf_request(workload=None))
    for name, pem in (
        ("chain", proxy.chain_pem),
        ("server", server.chain_pem),
        ("root", authority.roots().pem),
    ):
        for number, certificate in enumerate(x509.load_pem_x509_certificates(pem)):
            path = tmp_path / f"{name}-{number}.pem"
            path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            found = await linted(path)
            uri = [line for line in found if 'Invalid URI syntax: "spiffe://' in line]
            assert (len(uri), [line for line in found if line not in uri]) == (1, []), path.name


async def linted(path: Path) -> list[str]:
    """What it finds, a line each, notices as well."""
    program = Path(sys.executable).with_name("lint_pkix_cert")
    ran = await asyncio.create_subprocess_exec(
        program, "lint", "-s", "NOTICE", path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await ran.communicate()
    return [line.strip() for line in said.decode().splitlines() if line.startswith("    ")]
