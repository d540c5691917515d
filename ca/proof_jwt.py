"""A JSON Web Token of a trusted issuer as a proof: a Kubernetes projected token, or the identity that a cloud gives a machine.

Rules from RFC 7519 and RFC 8725 (best current practices): the issuer decides which keys count, the key decides which algorithms do,
`none` and shared secrets never do; audience, expiry and subject must be there. A token may be shown again until it ends: keep its life short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import jwt

from ca.errors import NotProved, ProvedAnother
from ca.proof import MAXIMUM_SHOWN, Claim
from ca.times import Clock
from mesh.names import Key

LEEWAY: Final = timedelta(seconds=60)
"""How far the issuer's clock may be from ours."""
ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""By the type of the key (RFC 7517): a public key can never be taken for a shared secret."""

_PLACEHOLDER = re.compile(r"\{(namespace|serviceAccount)\}")
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


class Keys(Protocol):
    """The public keys of one issuer, by now."""

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        """The key `kid`; without `kid` the only one. None if there is none. ProofUnavailable if none could be had yet."""
        ...


@dataclass(frozen=True, slots=True)
class Subjects:
    """Who the subjects of an issuer are in the mesh.

    `pattern` is the subject, literally, with `{namespace}` and `{serviceAccount}` where these stand; `namespace` and
    `service_account` say what it does not. `workload` is the path of the claim that names the workload (in a Kubernetes token
    `("kubernetes.io", "pod", "name")`); empty: any workload of that service account.
    """

    pattern: str
    namespace: str | None = None
    service_account: str | None = None
    workload: tuple[str, ...] = ()

    def account(self, subject: str) -> tuple[str, str] | None:
        """Namespace and service account of `subject`; None if the pattern does not fit."""
        parts = _PLACEHOLDER.split(self.pattern)
        expression = "".join(
            f"(?P<{part}>{_LABEL})" if number % 2 else re.escape(part) for number, part in enumerate(parts)
        )
        found = re.fullmatch(expression, subject)
        if found is None:
            return None
        said = found.groupdict()
        namespace = said.get("namespace") or self.namespace
        account = said.get("serviceAccount") or self.service_account
        return (namespace, account) if namespace and account else None


@dataclass(frozen=True, slots=True)
class Issuer:
    """One that is trusted. A token must be meant for one of `audiences`."""

    issuer: str
    audiences: tuple[str, ...]
    subjects: tuple[Subjects, ...]
    keys: Keys


class JwtProof:
    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clock = clock

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        return await self.verify(shown, workload, key_id)

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        del key_id
        if len(shown) > MAXIMUM_SHOWN:
            raise NotProved(f"the JWT has {len(shown)} bytes: at most {MAXIMUM_SHOWN} are accepted")
        header, unproved = _unverified(shown)
        issuer = self._issuers.get(str(unproved.get("iss", "")))
        if issuer is None:
            raise NotProved("the JWT's issuer is not one that this mesh trusts: see setting join_issuers")
        key = await _key(issuer, header)
        claims = _verified(shown, key, str(header.get("alg")), issuer)
        _check_times(claims, self._clock())
        return _claim(claims, issuer, workload)


def _unverified(shown: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims as they are said: to choose the issuer and the key by, and for nothing else."""
    try:
        read = jwt.decode_complete(shown, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        # From None: the cause may quote the token.
        raise NotProved("what was shown is not a JSON Web Token") from None
    header, claims = read["header"], read["payload"]
    if "crit" in header:
        raise NotProved(
            "what was shown is not a JSON Web Token that is understood here: it has critical extensions"
        )
    return header, claims


async def _key(issuer: Issuer, header: Mapping[str, Any]) -> jwt.PyJWK:
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise NotProved("the JWT's key id is not a text")
    key = await issuer.keys.find(kid)
    if key is None:
        raise NotProved(f"the JWT is not signed by a key that {issuer.issuer} has published")
    return key


def _verified(shown: str, key: jwt.PyJWK, algorithm: str, issuer: Issuer) -> Mapping[str, Any]:
    allowed = ALGORITHMS.get(str(key.key_type), ())
    if algorithm not in allowed:
        raise NotProved(f"the JWT says algorithm {algorithm[:20]!r}, which its key is not for")
    try:
        claims: Mapping[str, Any] = jwt.decode(
            shown,
            key.key,
            algorithms=[algorithm],
            audience=issuer.audiences,
            issuer=issuer.issuer,
            options={
                "require": ["exp", "iss", "aud", "sub"],
                # By our own clock, below.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.InvalidAudienceError:
        raise NotProved(
            f"the JWT is not meant for this mesh: its audience must be one of {', '.join(issuer.audiences)}"
        ) from None
    except jwt.MissingRequiredClaimError as error:
        raise NotProved(f"the JWT lacks the claim {error.claim!r}") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise NotProved("the JWT's signature does not hold") from None
    return claims


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    end, begin = _time(claims, "exp"), _time(claims, "nbf")
    if end is None or now >= end + LEEWAY:
        raise NotProved(f"the JWT ended at {end}: get a new one from its issuer")
    if begin is not None and now < begin - LEEWAY:
        raise NotProved(f"the JWT is not valid before {begin}: are the clocks right?")


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotProved(f"the JWT's claim {name!r} is not a time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise NotProved(f"the JWT's claim {name!r} is not a time") from None


def _claim(claims: Mapping[str, Any], issuer: Issuer, workload: Key) -> Claim:
    subject = claims["sub"]
    if not isinstance(subject, str):
        raise NotProved("the JWT's subject is not a text")
    by = f"JWT of {issuer.issuer} for {subject[:200]}"
    for subjects in issuer.subjects:
        account = subjects.account(subject)
        if account is None:
            continue
        namespace, service_account = account
        if namespace != workload.namespace:
            raise ProvedAnother(
                f"the {by} is for the namespace {namespace!r}, not for {workload.namespace!r}"
            )
        if subjects.workload and _at(claims, subjects.workload) != workload.name:
            raise ProvedAnother(
                f"the {by} does not name the workload {workload.name!r} in its claim {'/'.join(subjects.workload)}"
            )
        return Claim(workload, service_account, by, names_workload=bool(subjects.workload))
    raise ProvedAnother(f"the {by} is for nobody of this mesh: see setting join_issuers, subjects")


def _at(claims: object, path: Sequence[str]) -> object:
    for part in path:
        claims = claims.get(part) if isinstance(claims, Mapping) else None
    return claims
