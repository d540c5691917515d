from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from ca.authority import TrustBundle
from ca.errors import UnusableBundle
from ca.federation import (
    MAXIMUM_KEYS,
    MAXIMUM_ROOTS,
    ends,
    in_order,
    parse_file,
    parse_spiffe,
    spiffe_document,
)
from ca.secrets import SPIFFE_VALIDATOR, roots_secret
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)
from tests.support.ca_builders import START, HandClock, an_authority

THEIRS = "b.example"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> TrustBundle:
    return an_authority(tmp_path_factory.mktemp("b"), HandClock(), THEIRS).roots()


def said(bundle: TrustBundle) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(spiffe_document(bundle))
    return document


def a_root(key: Any = None, *, authority: bool | None = True, uri: str | None = None) -> bytes:
    """A certificate that is no root of ours, DER."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    signer = own if not isinstance(own, dsa.DSAPrivateKey) else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(7)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=1))
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if uri is not None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def a_document(*certificates: bytes, **more: Any) -> bytes:
    keys = [
        {"kty": "EC", "use": "x509-svid", "x5c": [base64.b64encode(each).decode()]} for each in certificates
    ]
    return json.dumps({"keys": keys, **more}).encode()


def test_what_is_published_can_be_followed(bundle: TrustBundle) -> None:
    document = spiffe_document(bundle, 60)
    assert parse_spiffe(document, THEIRS).bundle == bundle
    assert parse_spiffe(document, THEIRS).refresh_hint == 60
    assert spiffe_document(bundle, 60) == document
    key = json.loads(document)["keys"][0]
    assert {"kty", "crv", "x", "y", "use", "x5c"} == key.keys()
    assert (key["kty"], key["use"], len(key["x5c"])) == ("EC", "x509-svid", 1)


def test_files_are_pem_or_a_spiffe_bundle(bundle: TrustBundle) -> None:
    assert parse_file(bundle.pem + bundle.pem, THEIRS) == bundle
    assert parse_file(b"\n " + spiffe_document(bundle), THEIRS) == bundle
    assert parse_file(a_document(), THEIRS).roots == ()


def test_keys_for_anything_else_are_passed_over(bundle: TrustBundle) -> None:
    document = said(bundle)
    document["keys"] += [{"kty": "EC", "use": "jwt-svid"}, {"use": "x509-svid"}, {"kty": "EC"}, "key", None]
    assert parse_spiffe(json.dumps(document).encode(), THEIRS).bundle == bundle


def test_a_bundle_without_roots_vouches_for_nobody(bundle: TrustBundle) -> None:
    nobody = parse_spiffe(b'{"keys": []}', THEIRS).bundle
    assert (nobody.roots, ends(nobody)) == ((), None)
    assert ends(bundle) is not None
    own = TrustBundle("a.example", bundle.roots)
    assert roots_secret(own, (nobody,)) == roots_secret(own), "nothing changes where there is nobody"


@pytest.mark.parametrize("hint", [0, 300, 1 << 40])
def test_a_hint(hint: int) -> None:
    assert parse_spiffe(a_document(spiffe_refresh_hint=hint), THEIRS).refresh_hint == hint


@pytest.mark.parametrize("hint", [-1, 1.5, "300", True, None, 1 << 80])
def test_what_is_no_hint(hint: object) -> None:
    assert parse_spiffe(a_document(spiffe_refresh_hint=hint), THEIRS).refresh_hint is None


WRONG: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no JSON": lambda: b"nonsense",
    "a deep one": lambda: b"[" * 100_000,
    "a list": lambda: b"[]",
    "no keys": lambda: b"{}",
    "keys that are no list": lambda: b'{"keys": {}}',
    "too many keys": lambda: json.dumps({"keys": [{}] * (MAXIMUM_KEYS + 1)}).encode(),
    "no x5c": lambda: b'{"keys": [{"kty": "EC", "use": "x509-svid"}]}',
    "an empty x5c": lambda: b'{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": []}]}',
    "two in one x5c": lambda: b'{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["", ""]}]}',
    "x5c of a number": lambda: b'{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": [1]}]}',
    "x5c that is no base64": lambda: b'{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["\xc3\xa4"]}]}',
    "x5c that is no certificate": lambda: a_document(b"no certificate"),
    "a leaf": lambda: a_document(a_root(authority=False)),
    "no constraints": lambda: a_document(a_root(authority=None)),
    "a weak key": lambda: a_document(a_root(rsa.generate_private_key(65537, 1024))),  # noqa: S505
    "an odd curve": lambda: a_document(a_root(ec.generate_private_key(ec.BrainpoolP256R1()))),
    "an odd kind of key": lambda: a_document(a_root(dsa.generate_private_key(2048))),
    "one of another trust domain": lambda: a_document(a_root(uri="spiffe://a.example")),
    "one whose name begins alike": lambda: a_document(a_root(uri=f"spiffe://{THEIRS}.evil/x")),
    "one good, one bad": lambda: a_document(a_root(), b"no certificate"),
    "too many roots": lambda: a_document(*[a_root()] * (MAXIMUM_ROOTS + 1)),
}


@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
def test_what_is_no_bundle(document: Callable[[], bytes]) -> None:
    with pytest.raises(UnusableBundle, match=THEIRS):
        parse_spiffe(document(), THEIRS)
    with pytest.raises(UnusableBundle):
        parse_file(document(), THEIRS)


def test_a_name_that_is_none() -> None:
    with pytest.raises(UnusableBundle):
        parse_file(a_document(a_root()), "B/../example")


def test_no_foreign_root_is_in_our_own_name(bundle: TrustBundle) -> None:
    with pytest.raises(ValueError, match="different"):
        in_order((bundle,), THEIRS)
    with pytest.raises(ValueError, match="different"):
        in_order((bundle, bundle), "a.example")
    with pytest.raises(ValueError, match="different"):
        roots_secret(bundle, (bundle,))


def test_each_trust_domain_has_its_own_roots(bundle: TrustBundle, tmp_path: Path) -> None:
    own = an_authority(tmp_path, trust_domain="a.example").roots()
    other = TrustBundle("0.example", bundle.roots)
    secret = Secret.FromString(roots_secret(own, (bundle, other)))
    assert roots_secret(own, (other, bundle)) == roots_secret(own, (bundle, other))
    validator = secret.validation_context.custom_validator_config
    assert not secret.validation_context.HasField("trusted_ca")
    assert validator.name == SPIFFE_VALIDATOR
    config = SPIFFECertValidatorConfig()
    assert validator.typed_config.Unpack(config)
    assert {each.name: each.trust_bundle.inline_bytes for each in config.trust_domains} == {
        "a.example": own.pem,
        "0.example": bundle.pem,
        THEIRS: bundle.pem,
    }


def test_our_own_roots_vouch_for_our_other_names(bundle: TrustBundle, tmp_path: Path) -> None:
    own = an_authority(tmp_path, trust_domain="a.example").roots()
    secret = Secret.FromString(roots_secret(own, (bundle,), ("former.example",)))
    config = SPIFFECertValidatorConfig()
    assert secret.validation_context.custom_validator_config.typed_config.Unpack(config)
    assert {each.name: each.trust_bundle.inline_bytes for each in config.trust_domains} == {
        "a.example": own.pem,
        "former.example": own.pem,
        THEIRS: bundle.pem,
    }
    with pytest.raises(ValueError, match="different"):
        roots_secret(own, (bundle,), (THEIRS,))
    assert roots_secret(own, (), ("former.example",)) == roots_secret(own)
