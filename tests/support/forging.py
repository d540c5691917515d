"""JSON Web Tokens as a thief makes them, which no library would; and what everybody knows of an issuer's key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def forged(
    header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes] = lambda _: b""
) -> str:
    """Unsigned (RFC 8725, section 2.1) unless `sign` makes something of what would be signed."""
    signed = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
    return f"{signed}.{_encoded(sign(signed.encode()))}"


def confused(kid: str, claims: Mapping[str, Any], known: bytes) -> str:
    """HS256 with what is public, the key `known` in PEM, as the secret: what a verifier that trusts the header would accept."""
    header = {"alg": "HS256", "typ": "JWT", "kid": kid}
    return forged(header, claims, lambda signed: hmac.digest(known, signed, hashlib.sha256))


def altered(token: str, claims: Mapping[str, Any]) -> str:
    """`token` with other claims under its signature."""
    header, _, signature = token.split(".")
    return f"{header}.{_encoded(_json(claims))}.{signature}"


def public_jwk(key: PrivateKey, kid: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig"}


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _json(value: Mapping[str, Any]) -> bytes:
    times = {name: each.timestamp() for name, each in value.items() if isinstance(each, datetime)}
    return json.dumps({**value, **times}).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
