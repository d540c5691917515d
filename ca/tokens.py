"""Join tokens: `mwj_<id>.<secret>`, shown once when made, and kept as a hash.

One file for each token, `<data directory>/tokens/<id>.json`, 0600. The secret has 256 random bits, so a plain SHA-256 is
enough: nobody can guess it, and a slow password hash would only slow the server. The command line makes tokens while the
server redeems them: a file lock keeps the two apart, and a use is on the disk before the caller may act on it, so
that no crash lets a token be used once too often.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes
from typing import Final

from ca import files
from ca.control_plane import is_control_plane
from ca.errors import ExpiredToken, InsecureFile, TokenError, TokenForAnother, UnknownToken, UsedUpToken
from ca.peer import workload_key
from mesh.identity import Identity
from mesh.names import Key

PREFIX: Final = "mwj_"
MAXIMUM_USES: Final = 1_000_000
_SHAPE = re.compile(r"mwj_([a-z2-7]{16})\.([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[a-z2-7]{16}")
_NO_HASH: Final = bytes(32)
_REMEMBERED: Final = 64

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token proves: its bearer may be `workload`, with the service account `service_account` of its namespace."""

    token_id: str
    workload: Key
    service_account: str


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it is kept: everything but its secret. `workload` None covers any workload of the service account.

    `keys` are the hashes of the last public keys that uses were counted for: the same key again is the same use, so that
    an agent whose answer was lost on the way may ask once more.
    """

    token_id: str
    digest: bytes
    namespace: str
    service_account: str
    workload: str | None
    created: datetime
    expires: datetime
    uses: int
    used: int = 0
    keys: tuple[str, ...] = ()

    def __repr__(self) -> str:
        covers = self.workload or "*"
        return f"TokenRecord({self.token_id}, {self.namespace}/{covers}, used {self.used} of {self.uses})"

    @property
    def used_up(self) -> bool:
        return self.used >= self.uses


class TokenStore:
    """The tokens kept in `data_dir`. All methods read or write files: call them in a thread from an event loop."""

    def __init__(self, data_dir: Path, random_bytes: RandomBytes = token_bytes) -> None:
        self._directory = data_dir / "tokens"
        self._random_bytes = random_bytes

    def create(
        self,
        namespace: str,
        service_account: str,
        *,
        now: datetime,
        workload: str | None = None,
        ttl: timedelta = timedelta(hours=1),
        uses: int = 1,
    ) -> str:
        """A new token, which is shown nowhere again. It lives for `ttl` and lets `uses` workloads join.

        Errors: TokenError or mesh.errors.InvalidName for values that cannot be.
        """
        workload_key(namespace, workload or "any")
        # The trust domain is any: only the other parts are checked here.
        if is_control_plane(Identity("any", namespace, service_account)):
            raise TokenError(
                f"the identity {namespace}/{service_account} is the control plane's own: choose another"
            )
        if ttl <= timedelta(0) or not 1 <= uses <= MAXIMUM_USES:
            raise TokenError(
                f"a token needs a time to live above zero and 1 to {MAXIMUM_USES} uses, not {ttl} and {uses}"
            )
        token_id = base64.b32encode(self._random_bytes(10)).decode().lower()
        secret = base64.urlsafe_b64encode(self._random_bytes(32)).decode().rstrip("=")
        record = TokenRecord(
            token_id=token_id,
            digest=_digest(secret),
            namespace=namespace,
            service_account=service_account,
            workload=workload,
            created=now,
            expires=now + ttl,
            uses=uses,
        )
        with files.locked(self._opened()):
            files.remove_leftovers(self._directory)
            self._write(record)
        return f"{PREFIX}{token_id}.{secret}"

    def verify(
        self, token: str, namespace: str, workload: str, now: datetime, key_id: str | None = None
    ) -> TokenClaims:
        """What `token` proves for this workload, without a use: a use is counted by `redeem`.

        Errors: UnknownToken, ExpiredToken, TokenForAnother, UsedUpToken (unless `key_id` has used it before).
        """
        return self._verified(token, namespace, workload, now, key_id)[1]

    def redeem(
        self, token: str, namespace: str, workload: str, now: datetime, key_id: str | None = None
    ) -> TokenClaims:
        """What `token` proves for this workload; one use is counted, on the disk, before this returns.

        `key_id` is `key_id_of` the public key that the certificate will be for. Errors as `verify`; OSError if the use
        cannot be written.
        """
        with files.locked(self._opened()):
            record, claims = self._verified(token, namespace, workload, now, key_id)
            use = _use(claims.workload, key_id)
            if use not in record.keys:
                keys = (*record.keys, use)[-_REMEMBERED:] if use else record.keys
                self._write(replace(record, used=record.used + 1, keys=keys))
            return claims

    def list(self) -> tuple[TokenRecord, ...]:
        """All tokens, oldest first; the expired and used up ones as well, until they are revoked.

        What cannot be read is left out: `damaged` tells of it.
        """
        return tuple(sorted(self._scan()[0], key=lambda record: (record.created, record.token_id)))

    def damaged(self) -> tuple[str, ...]:
        """A line for each file that is not a token, is not private or cannot be read: which, why, and the way out."""
        return self._scan()[1]

    def _scan(self) -> tuple[tuple[TokenRecord, ...], tuple[str, ...]]:
        records, damaged = [], []
        with files.locked(self._opened()):
            for path in sorted(self._directory.glob("*.json")):
                try:
                    records.append(_read(path))
                except (TokenError, InsecureFile) as error:
                    damaged.append(str(error))
                except OSError as error:
                    damaged.append(f"{path} cannot be read: {error.strerror}: check its owner and mode")
        return tuple(records), tuple(damaged)

    def revoke(self, token_id: str) -> None:
        """Remove a token: nobody joins by it any more. Certificates that it gave stay valid. UnknownToken if there is none."""
        with files.locked(self._opened()):
            if not _ID.fullmatch(token_id) or not self._path(token_id).exists():
                raise UnknownToken(f"there is no join token with the id {token_id[:40]!r}")
            self._path(token_id).unlink()
            files.sync_directory(self._directory)

    def _verified(
        self, token: str, namespace: str, workload: str, now: datetime, key_id: str | None
    ) -> tuple[TokenRecord, TokenClaims]:
        unknown = "the join token is unknown: make one with `meshwright token create`"
        shape = _SHAPE.fullmatch(token)
        if shape is None:
            raise UnknownToken(unknown)
        token_id, secret = shape.groups()
        try:
            record = _read(self._path(token_id))
        except FileNotFoundError:
            record = None
        # Compared also when there is no record, so that the time does not tell which ids exist.
        right = hmac.compare_digest(_digest(secret), record.digest if record else _NO_HASH)
        if record is None or not right:
            raise UnknownToken(unknown)
        if now >= record.expires:
            raise ExpiredToken(
                f"the join token {token_id} expired at {record.expires.isoformat()}: make a new one"
            )
        if namespace != record.namespace or record.workload not in {None, workload}:
            raise TokenForAnother(
                f"the join token {token_id} is for {record.namespace}/{record.workload or '*'}, "
                f"not for {namespace[:64]}/{workload[:256]}"
            )
        key = workload_key(namespace, workload)
        if record.used_up and _use(key, key_id) not in record.keys:
            raise UsedUpToken(
                f"the join token {token_id} has been used {record.used} of {record.uses} times: make a new one"
            )
        return record, TokenClaims(token_id, key, record.service_account)

    def _opened(self) -> Path:
        files.own_directory(self._directory.parent)
        return files.private_directory(self._directory)

    def _path(self, token_id: str) -> Path:
        return self._directory / f"{token_id}.json"

    def _write(self, record: TokenRecord) -> None:
        document = {
            "id": record.token_id,
            "sha256": record.digest.hex(),
            "namespace": record.namespace,
            "serviceAccount": record.service_account,
            "workload": record.workload,
            "created": record.created.isoformat(),
            "expires": record.expires.isoformat(),
            "uses": record.uses,
            "used": record.used,
            "keys": list(record.keys),
        }
        files.write_atomically(
            self._path(record.token_id), json.dumps(document, indent=1).encode(), files.PRIVATE
        )


def token_id(token: str) -> str:
    """The part of a token that is no secret; of an id, the id."""
    return token.removeprefix(PREFIX).partition(".")[0]


def key_id_of(public_key_der: bytes) -> str:
    """The identity of a public key (SubjectPublicKeyInfo, DER) for `redeem`."""
    return hashlib.sha256(public_key_der).hexdigest()


def _use(workload: Key, key_id: str | None) -> str:
    """What makes a repeated use the same use: the workload and the key; empty, which no record has, without a key."""
    return f"{workload} {key_id}" if key_id else ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _read(path: Path) -> TokenRecord:
    """FileNotFoundError, InsecureFile, or TokenError if the file is not a token."""
    content = files.read_private(path)
    try:
        document = json.loads(content)
        return TokenRecord(
            token_id=str(document["id"]),
            digest=bytes.fromhex(document["sha256"]),
            namespace=str(document["namespace"]),
            service_account=str(document["serviceAccount"]),
            workload=None if document["workload"] is None else str(document["workload"]),
            created=datetime.fromisoformat(document["created"]).astimezone(UTC),
            expires=datetime.fromisoformat(document["expires"]).astimezone(UTC),
            uses=int(document["uses"]),
            used=int(document["used"]),
            keys=tuple(str(key) for key in document["keys"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TokenError(f"{path} is not a join token: remove it and make a new one") from error
