"""Trust bundles of other trust domains, and of our own for others to follow: from PEM, from and to SPIFFE bundles.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md#4-spiffe-bundle-format
https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#6-representation-in-the-spiffe-bundle

Pure: where bundles come from, and when, is `ca.bundle_source` and `meshwright.federation`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ca.authority import TrustBundle
from ca.certificate import extension, pem, uris
from ca.errors import UnusableBundle
from ca.keys import RSA_BITS
from mesh.identity import TRUST_DOMAIN

X509_USE: Final = "x509-svid"
MAXIMUM_ROOTS: Final = 64
MAXIMUM_KEYS: Final = 1024
"""Entries of a key set: keys for JWT-SVIDs, which we pass over, are among them."""
CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
REFRESH_HINT: Final = 300
"""Seconds after which others should ask for our own bundle again. The rotation of a root waits longer than that only if it is told to:
docs/security.md.
"""

Federated = tuple[TrustBundle, ...]
"""The bundles of foreign trust domains, by name, each of them once, none of ours."""


@dataclass(frozen=True, slots=True)
class SpiffeBundle:
    """What a bundle endpoint said. `refresh_hint` is in seconds; None where it said nothing of that kind."""

    bundle: TrustBundle
    refresh_hint: int | None = None


def parse_spiffe(document: bytes, trust_domain: str) -> SpiffeBundle:
    """A SPIFFE bundle (JWKS) of `trust_domain`. UnusableBundle if it is none, or any root in it can't be one of that trust domain.

    A key set without any root is one: the trust domain vouches for nobody any more. Keys for anything but X.509-SVIDs are passed over.
    """
    try:
        said = json.loads(document)
    except (ValueError, RecursionError):
        raise UnusableBundle(f"the bundle of {trust_domain} is not JSON") from None
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list) or len(keys) > MAXIMUM_KEYS:
        raise UnusableBundle(f"the bundle of {trust_domain} has no list of at most {MAXIMUM_KEYS} keys")
    roots = [
        _decoded(each, trust_domain)
        for each in keys
        if isinstance(each, dict) and each.get("use") == X509_USE and isinstance(each.get("kty"), str)
    ]
    hint = said.get("spiffe_refresh_hint")
    told = isinstance(hint, int) and not isinstance(hint, bool) and 0 <= hint < 1 << 63
    return SpiffeBundle(_bundle(roots, trust_domain), hint if told else None)


def parse_file(content: bytes, trust_domain: str) -> TrustBundle:
    """The bundle of `trust_domain` in a file: certificates in PEM, or a SPIFFE bundle. UnusableBundle."""
    if content.lstrip()[:1] == b"{":
        return parse_spiffe(content, trust_domain).bundle
    try:
        found = x509.load_pem_x509_certificates(content)
    except (ValueError, x509.InvalidVersion):
        raise UnusableBundle(
            f"the bundle of {trust_domain} holds neither certificates in PEM nor a SPIFFE bundle"
        ) from None
    return _bundle(found, trust_domain)


def spiffe_document(bundle: TrustBundle, refresh_hint: int = REFRESH_HINT) -> bytes:
    """`bundle` as others may follow it. The same bytes for the same bundle.

    It has no `spiffe_sequence`, which is optional: replicas and restored backups could not keep one that only grows.
    """
    roots = [each for pem in bundle.roots for each in x509.load_pem_x509_certificates(pem)]
    return json.dumps(
        {"keys": [_key(each) for each in roots], "spiffe_refresh_hint": refresh_hint}, sort_keys=True
    ).encode()


def ends(bundle: TrustBundle) -> datetime | None:
    """When the last root of `bundle` ends; None if it has none."""
    return max(
        (each.not_valid_after_utc for pem in bundle.roots for each in x509.load_pem_x509_certificates(pem)),
        default=None,
    )


def in_order(bundles: Iterable[TrustBundle], *own: str) -> Federated:
    """As everybody is given them. ValueError for two of one trust domain, or one of our `own`: a foreign root must never vouch for us."""
    ordered = tuple(sorted(bundles, key=lambda each: each.trust_domain))
    names = [each.trust_domain for each in ordered]
    if len({*names, *own}) != len(names) + len(own):
        raise ValueError(f"{', '.join(own)} and {', '.join(names)} are not all different trust domains")
    return ordered


def _decoded(entry: dict[str, Any], trust_domain: str) -> x509.Certificate:
    chain = entry.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise UnusableBundle(f"a key of the bundle of {trust_domain} has no x5c with just one certificate")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
    except (ValueError, binascii.Error, x509.InvalidVersion):
        raise UnusableBundle(
            f"a key of the bundle of {trust_domain} has an x5c that is no certificate"
        ) from None


def _bundle(roots: list[x509.Certificate], trust_domain: str) -> TrustBundle:
    if not TRUST_DOMAIN.fullmatch(trust_domain):
        raise UnusableBundle(f"{trust_domain!r} is no trust domain")
    if len(roots) > MAXIMUM_ROOTS:
        raise UnusableBundle(f"the bundle of {trust_domain} has more than {MAXIMUM_ROOTS} roots")
    for each in roots:
        _check(each, trust_domain)
    pems = dict.fromkeys(map(pem, roots))
    return TrustBundle(trust_domain, tuple(pems))


def _check(root: x509.Certificate, trust_domain: str) -> None:
    """That Envoy takes it, and that it does not say itself that it is somebody else's."""
    try:
        strong = _strong(root.public_key())
        authority = extension(root, x509.BasicConstraints)
        names = uris(root)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise UnusableBundle(f"a root of the bundle of {trust_domain} is not well made") from None
    if authority is None or not authority.ca:
        raise UnusableBundle(f"a certificate of the bundle of {trust_domain} is not that of an authority")
    if not strong:
        raise UnusableBundle(
            f"a root of the bundle of {trust_domain} has a key that is weak or of an unknown kind: RSA of {RSA_BITS[0]} bits or more, "
            "ECDSA with P-256, P-384 or P-521, and Ed25519 are taken"
        )
    if any(not _of(each, trust_domain) for each in names if each.startswith("spiffe:")):
        raise UnusableBundle(f"a root of the bundle of {trust_domain} is that of another trust domain")


def _strong(key: object) -> bool:
    return (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS[0])
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES))
    )


def _of(uri: str, trust_domain: str) -> bool:
    return uri == f"spiffe://{trust_domain}" or uri.startswith(f"spiffe://{trust_domain}/")


def _key(root: x509.Certificate) -> dict[str, Any]:
    key = root.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        made = ECAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, rsa.RSAPublicKey):
        made = RSAAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        made = OKPAlgorithm.to_jwk(key, as_dict=True)
    else:
        raise UnusableBundle("a root of this mesh has a key of a kind that a SPIFFE bundle cannot hold")
    made.pop("key_ops", None)
    return {**made, "use": X509_USE, "x5c": [base64.b64encode(root.public_bytes(Encoding.DER)).decode()]}
