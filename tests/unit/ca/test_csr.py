from __future__ import annotations

import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ca.csr import MAXIMUM_BYTES, check_csr, make_csr
from ca.errors import CsrRefused
from ca.keys import key_pem, new_key
from tests.support.ca_builders import SigningKey, signed_request


def test_ours_is_accepted() -> None:
    key = new_key()
    assert check_csr(make_csr(key).der).public_key == key.public_key()


def test_other_strong_hashes_are_accepted() -> None:
    check_csr(signed_request(new_key(), algorithm=hashes.SHA384()))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - weak on purpose
        ec.generate_private_key(ec.SECP192R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa1024", "p192", "k256", "ed25519"],
)
def test_other_keys_are_refused(key: SigningKey) -> None:
    with pytest.raises(CsrRefused, match=r"P-256|cannot|can be read"):
        check_csr(signed_request(key))


@pytest.mark.parametrize(
    "csr",
    [
        signed_request(
            new_key(), subject=x509.Name([x509.NameAttribute(NameOID.USER_ID, "default/store-1")])
        ),
        signed_request(
            new_key(),
            extension=x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://example.org/ns/default/sa/store")]
            ),
        ),
        signed_request(new_key(), extension=x509.BasicConstraints(ca=True, path_length=None)),
    ],
    ids=["subject", "identity", "ca"],
)
def test_a_request_that_names_somebody_is_refused(csr: bytes) -> None:
    with pytest.raises(CsrRefused, match="identity comes from the proof"):
        check_csr(csr)


def test_a_request_signed_by_another_key_is_refused() -> None:
    one, two = make_csr(new_key()), make_csr(new_key())
    key_of = [
        each.public_key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        for each in (one, two)
    ]
    with pytest.raises(CsrRefused, match="own key"):
        check_csr(one.der.replace(key_of[0], key_of[1]))


def test_a_weak_signature_is_refused() -> None:
    # A request that says SHA-1: the algorithm's identifier is changed where it stands.
    weak = make_csr(new_key()).der.replace(
        bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040301")
    )
    with pytest.raises(CsrRefused):
        check_csr(weak)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x30\x82\xff\xff", make_csr(new_key()).der + b"\0"])
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(CsrRefused, match=r"PKCS #10"):
        check_csr(junk)


def test_a_large_request_is_not_parsed() -> None:
    with pytest.raises(CsrRefused, match="at most 4096"):
        check_csr(os.urandom(MAXIMUM_BYTES + 1))


GOOD = make_csr(new_key())


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_request_is_refused_or_the_same(at: int, flip: int) -> None:
    bad = bytearray(GOOD.der)
    bad[at % len(bad)] ^= flip
    try:
        found = check_csr(bytes(bad))
    except CsrRefused:
        return
    assert found.public_key == GOOD.public_key  # no damage makes the signature fit another key


def test_a_key_is_pkcs8() -> None:
    assert key_pem(new_key()).startswith(b"-----BEGIN PRIVATE KEY-----")
