"""The public keys of an issuer of JSON Web Tokens: from a file, from a URL, or where its OpenID discovery says they are.

https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig, RFC 7517. Keys are kept for a while, looked for again when
a token names one that is not among them (but not as often as somebody likes), and go on being used while the issuer is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import jwt

from ca.errors import ProofUnavailable
from ca.keys import RSA_BITS
from ca.proof_jwt import ALGORITHMS
from ca.rate_limit import Monotonic
from ca.web import Answer, NoAnswer, ask, check_url

FRESH: Final = 300.0
"""Seconds after which keys are looked for again."""
AGAIN: Final = 10.0
"""Seconds between two looks, whoever asks and whatever came of the last."""
STALE: Final = 24 * 3600.0
"""Seconds that keys of an issuer which is away are used at most: what it has withdrawn meanwhile is not known."""
MAXIMUM_KEYS: Final = 64


class Source(Protocol):
    async def load(self) -> bytes:
        """The key set as JSON. NoAnswer if it can't be had."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    path: Path

    async def load(self) -> bytes:
        try:
            return await asyncio.to_thread(self.path.read_bytes)
        except OSError as error:
            raise NoAnswer(f"{self.path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class UrlSource:
    """`url` is that of the key set; None: where `issuer` says, by OpenID discovery. `ca_file` vouches for the server instead of the
    system's authorities; `token_file` holds a bearer token for it (a Kubernetes API server wants one).
    """

    issuer: str
    url: str | None = None
    ca_file: Path | None = None
    token_file: Path | None = None

    async def load(self) -> bytes:
        try:
            headers = await asyncio.to_thread(self._headers)
        except OSError as error:
            raise NoAnswer(f"token_file {self.token_file} cannot be read: {error.strerror}") from None
        return (await self._get(self.url or await self._discovered(headers), headers)).body

    def _headers(self) -> dict[str, str]:
        if self.token_file is None:
            return {}
        return {"authorization": f"Bearer {self.token_file.read_text().strip()}"}

    async def _get(self, url: str, headers: Mapping[str, str]) -> Answer:
        try:
            check_url(url)
        except ValueError as error:
            raise NoAnswer(f"{url} {error}") from None
        answer = await ask(url, headers=headers, ca_file=self.ca_file)
        if answer.status != 200:
            raise NoAnswer(f"{url} answered {answer.status}")
        return answer

    async def _discovered(self, headers: Mapping[str, str]) -> str:
        where = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        document = (await self._get(where, headers)).document()
        url = document.get("jwks_uri")
        # Section 4.3: else one issuer could speak for another.
        if document.get("issuer") != self.issuer or not isinstance(url, str):
            raise NoAnswer(f"{where} is not the configuration of this issuer")
        return url


class KeySet:
    """The keys of one issuer. Use it from one event loop."""

    def __init__(self, issuer: str, source: Source, monotonic: Monotonic) -> None:
        self._issuer = issuer
        self._source = source
        self._monotonic = monotonic
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._loaded: float | None = None
        self._tried: float | None = None
        self._problem = ""
        self._loading = asyncio.Lock()

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        """See `proof_jwt.Keys`."""
        if self._old(FRESH) or kid not in self._keys:
            async with self._loading:
                if self._old(FRESH) or kid not in self._keys:
                    await self._load()
        if self._old(STALE):
            raise ProofUnavailable(self._problem or f"the keys of {self._issuer} could not be had yet")
        return self._keys.get(kid)

    def _old(self, age: float) -> bool:
        return self._loaded is None or self._monotonic() - self._loaded > age

    async def _load(self) -> None:
        now = self._monotonic()
        if self._tried is not None and now - self._tried < AGAIN:
            return
        self._tried = now
        try:
            self._keys = _parsed(await self._source.load())
        except NoAnswer as error:
            self._problem = f"the keys of {self._issuer}: {error}"
        else:
            self._loaded, self._problem = self._monotonic(), ""


def _parsed(body: bytes) -> dict[str | None, jwt.PyJWK]:
    """By key id; the only key also by None. Keys that are for something else, or too weak, are left out (RFC 7517, 5)."""
    listed = Answer(200, body).document().get("keys")
    if not isinstance(listed, list) or len(listed) > MAXIMUM_KEYS:
        raise NoAnswer(f"the key set has no list of at most {MAXIMUM_KEYS} keys")
    keys: dict[str | None, jwt.PyJWK] = {}
    unnamed: list[jwt.PyJWK] = []
    for each in listed:
        key = _usable(each)
        if key is not None:
            unnamed.append(key)
            if key.key_id is not None:
                keys[key.key_id] = key
    if len(unnamed) == 1:
        keys[None] = unnamed[0]
    return keys


def _usable(listed: object) -> jwt.PyJWK | None:
    kind = listed.get("kty") if isinstance(listed, dict) else None
    if not isinstance(listed, dict) or not isinstance(kind, str) or kind not in ALGORITHMS:
        return None
    if listed.get("use", "sig") != "sig" or "d" in listed:
        return None
    try:
        key = jwt.PyJWK(listed)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    weak = key.key_type == "RSA" and key.key.key_size < RSA_BITS[0]
    return None if weak or not isinstance(listed.get("kid", ""), str) else key
