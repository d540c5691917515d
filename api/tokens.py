"""API tokens: `mwa_<id>.<secret>`, shown once when made, and kept as a hash.

One file for each, `<data directory>/api-tokens/<id>.json`, 0600. The secret has 256 random bits, so a plain SHA-256 is enough: nobody can guess
it. One control plane has the directory, so what was read at the start and written since is all there is, and a token is looked up in memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Final, Self

from api.roles import Caller, Grant, Role, Way
from ca import files
from ca.errors import InsecureFile

PREFIX: Final = "mwa_"
LONGEST: Final = timedelta(days=3650)
MOST: Final = 10_000
_SHAPE: Final = re.compile(r"mwa_([a-z2-7]{16})\.([A-Za-z0-9_-]{43})")
_NO_HASH: Final = bytes(32)


class TokenRefused(Exception):
    """Why a token does not open the door. Says nothing of its secret."""


class NoSuchToken(Exception):
    """There is none with that id."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token as it is kept: everything but its secret. `namespaces` None: all."""

    id: str
    digest: bytes = field(repr=False)
    name: str
    role: Role
    namespaces: frozenset[str] | None
    created: datetime
    expires: datetime
    created_by: str

    def caller(self, peer: str) -> Caller:
        return Caller(f"token:{self.name}", Way.TOKEN, peer, (Grant(self.role, self.namespaces),))


class ApiTokens:
    """All of them. `create` and `revoke` write to the disk: call them in a thread."""

    def __init__(self, directory: Path, tokens: dict[str, ApiToken], damaged: tuple[str, ...]) -> None:
        self._directory = directory
        self._tokens = tokens
        self.damaged = damaged
        """A line for each file that is no token or is not private: which, and the way out."""

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Reads the disk. OSError."""
        directory = files.private_directory(data_dir / "api-tokens")
        files.remove_leftovers(directory)
        found: dict[str, ApiToken] = {}
        damaged = []
        for path in sorted(directory.glob("*.json")):
            try:
                token = _read(path)
                found[token.id] = token
            except (ValueError, KeyError, TypeError, InsecureFile) as error:
                damaged.append(f"{path} is no API token: {error}: remove it, and make a new one")
        return cls(directory, found, tuple(damaged))

    def create(
        self,
        name: str,
        role: Role,
        namespaces: frozenset[str] | None,
        life: timedelta,
        *,
        now: datetime,
        by: str,
    ) -> tuple[str, ApiToken]:
        """A new token, which is shown nowhere again, and what is kept of it. ValueError if there are too many; OSError."""
        if len(self._tokens) >= MOST:
            raise ValueError(f"there are {MOST} API tokens already: revoke some")
        ident = base64.b32encode(token_bytes(10)).decode().lower()
        secret = base64.urlsafe_b64encode(token_bytes(32)).decode().rstrip("=")
        token = ApiToken(ident, _digest(secret), name, role, namespaces, now, now + min(life, LONGEST), by)
        files.write_atomically(self._path(ident), _written(token))
        self._tokens[ident] = token
        return f"{PREFIX}{ident}.{secret}", token

    def list(self) -> tuple[ApiToken, ...]:
        """The oldest first; expired ones too, until they are revoked."""
        return tuple(sorted(self._tokens.values(), key=lambda token: (token.created, token.id)))

    def revoke(self, ident: str) -> ApiToken:
        """It opens nothing from now on. NoSuchToken; OSError."""
        token = self._tokens.get(ident)
        if token is None:
            raise NoSuchToken(f"there is no API token with the id {ident[:40]!r}")
        # Refused from now on, also if the disk cannot be written: then whoever asked is told so.
        del self._tokens[ident]
        self._path(ident).unlink(missing_ok=True)
        files.sync_directory(self._directory)
        return token

    def verify(self, text: str, now: datetime) -> ApiToken:
        """TokenRefused."""
        shape = _SHAPE.fullmatch(text)
        token = self._tokens.get(shape[1]) if shape is not None else None
        # Compared also when there is none, so that the time does not tell which ids exist.
        digest = _digest(shape[2]) if shape is not None else _NO_HASH
        right = hmac.compare_digest(digest, token.digest if token is not None else _NO_HASH)
        if token is None or not right:
            raise TokenRefused("the API token is unknown: make one with `meshwright api-token create`")
        if now >= token.expires:
            raise TokenRefused(
                f"the API token {token.id} expired at {token.expires.isoformat(timespec='seconds')}: make a new one"
            )
        return token

    def _path(self, ident: str) -> Path:
        return self._directory / f"{ident}.json"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _written(token: ApiToken) -> bytes:
    return json.dumps(
        {
            "id": token.id,
            "sha256": token.digest.hex(),
            "name": token.name,
            "role": str(token.role),
            "namespaces": None if token.namespaces is None else sorted(token.namespaces),
            "created": token.created.isoformat(),
            "expires": token.expires.isoformat(),
            "createdBy": token.created_by,
        },
        indent=1,
    ).encode()


def _read(path: Path) -> ApiToken:
    said = json.loads(files.read_private(path))
    namespaces = said["namespaces"]
    token = ApiToken(
        id=str(said["id"]),
        digest=bytes.fromhex(said["sha256"]),
        name=str(said["name"]),
        role=Role.parse(str(said["role"])),
        namespaces=None if namespaces is None else frozenset(map(str, namespaces)),
        created=datetime.fromisoformat(said["created"]).astimezone(UTC),
        expires=datetime.fromisoformat(said["expires"]).astimezone(UTC),
        created_by=str(said["createdBy"]),
    )
    if f"{token.id}.json" != path.name:
        raise ValueError("its name is not its id")
    return token
