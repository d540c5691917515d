"""Sets of public keys that documents hold (RFC 7517): Envoy refuses the whole listener for one that it cannot use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from jwt import PyJWK, PyJWTError

from documents.envelope import wrong

MOST_KEYS: Final = 64 * 1024
"""Characters of a set: it is a part of the listeners of every proxy concerned."""
PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})
"""Members of a key that are secret (RFC 7518, section 6)."""
KINDS: Final[Mapping[object, AbstractSet[object]]] = {
    "RSA": {None},
    "EC": {"P-256", "P-384", "P-521"},
    "OKP": {"Ed25519"},
}
"""Types of keys that Envoy takes, and their curves."""
ALGORITHMS: Final = frozenset(
    {f"{family}{size}" for family in ("RS", "PS", "ES") for size in (256, 384, 512)} | {"EdDSA"}
)


def public_keys(text: str) -> str:
    """`text`, if it is a set of public keys that proxies can use. Raises what a validator of a field raises."""
    if len(text) > MOST_KEYS:
        raise wrong(f"the keys have {len(text)} characters", f"Use at most {MOST_KEYS}, or jwks.uri")
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not all(isinstance(each, dict) for each in keys):
        raise wrong(
            "that is no set of keys (JWKS)", 'Write JSON like {"keys": [{"kty": "RSA", ...}]} (RFC 7517)'
        )
    if not keys:
        raise wrong("the set has no key", "Give the issuer's public keys, or jwks.uri")
    for place, key in enumerate(keys):
        _key(place, key)
    return text


def _key(place: int, key: dict[str, Any]) -> None:
    if key.get("kty") == "oct" or PRIVATE & set(key):
        # What is wrong with a secret is not said in its own words.
        raise wrong(f"key {place} is a secret", "Give public keys only: a document is no place for secrets")
    kind, curve, algorithm = key.get("kty"), key.get("crv"), key.get("alg")
    if kind not in KINDS or curve not in KINDS[kind]:
        shown = f"{kind} {curve}" if kind in KINDS else kind
        raise wrong(f"key {place} is of a type that proxies do not take: {shown}", "Use RSA, EC or Ed25519")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise wrong(f"key {place} is for {algorithm!r}, which proxies do not take", "Use RS256 or ES256")
    try:
        PyJWK.from_dict({name: value for name, value in key.items() if name != "alg"})
    except (PyJWTError, ValueError, TypeError, KeyError) as error:
        raise wrong(f"key {place} cannot be read: {error}", "Take it from the issuer as it is") from error
