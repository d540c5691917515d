"""An authority that several control planes share: what is kept of it, in one place that they all read. Pure: clock and chance are arguments.

One of them makes it, renews its intermediate, and moves it to a new root; all of them sign with what stands there, as an authority from files
(`ca.from_files`). Who was issued what is known to each of them alone, so the stages of a rotation go by time, not by who has acknowledged:

    stable ──begin──> trusting ──wait──> signing ──wait──> stable

- trusting: the bundle has both roots. After `wait`, which is longer than a leaf lives, nobody can hold a leaf who was not given the new root.
- signing: leaves are signed under the new root; both are trusted. After `wait` there are no others.

Why it may go by time: docs/adr/0012-shared-authority.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from pydantic import TypeAdapter, ValidationError

from ca import keys, profile
from ca.certificate import pem
from ca.errors import CannotRotate, DamagedAuthority
from ca.keys import KeyType, key_pem, new_key
from ca.signer import Signer

CHAIN: Final = "chain.pem"
KEY: Final = "key.pem"
ROOTS: Final = "roots.pem"
ROOT: Final = "root.pem"
NEXT: Final = "next-root.pem"
STATE: Final = "state.json"


class Stage(StrEnum):
    STABLE = "stable"
    TRUSTING = "trusting"
    SIGNING = "signing"


@dataclass(frozen=True, slots=True)
class State:
    """`since`: when the stage began. `asked`: the last request for a rotation that was heeded, whatever its words are."""

    stage: Stage
    since: datetime
    asked: str = ""


_STATE: Final = TypeAdapter(State)


@dataclass(frozen=True, slots=True)
class SharedAuthority:
    """`signer` is the intermediate. `root` signs it; without its key (None) somebody else renews the intermediate and the roots.
    `next`: the root that a rotation moves to, while the stage is trusting. `roots`: the bundle, in the order of age.
    """

    signer: Signer
    roots: tuple[x509.Certificate, ...]
    root: Signer | None
    next: Signer | None
    state: State

    def files(self) -> dict[str, bytes]:
        """As it is kept: keys in PEM, not encrypted. For a place that only control planes can read."""
        kept = {
            CHAIN: pem(self.signer.certificate),
            KEY: key_pem(self.signer.key),
            ROOTS: b"".join(map(pem, self.roots)),
            STATE: _STATE.dump_json(self.state),
        }
        for name, root in ((ROOT, self.root), (NEXT, self.next)):
            if root is not None:
                kept[name] = key_pem(root.key) + root.certificate_pem
        return kept

    @classmethod
    def read(cls, kept: dict[str, bytes], where: str, now: datetime) -> Self:
        """DamagedAuthority says what is wrong with what is kept `where`; what only control planes need for renewals may be missing."""
        missing = [name for name in (CHAIN, KEY, ROOTS) if name not in kept]
        if missing:
            raise DamagedAuthority(f"{where} has no {', '.join(missing)}: restore it from a backup")
        try:
            state = _STATE.validate_json(kept[STATE]) if STATE in kept else State(Stage.STABLE, now)
        except ValidationError:
            raise DamagedAuthority(f"{where}: {STATE} cannot be read: restore it from a backup") from None
        return cls(
            _signer(kept[KEY] + kept[CHAIN], f"{where}: {CHAIN} and {KEY}"),
            _certificates(kept[ROOTS], f"{where}: {ROOTS}"),
            _signer(kept[ROOT], f"{where}: {ROOT}") if ROOT in kept else None,
            _signer(kept[NEXT], f"{where}: {NEXT}") if NEXT in kept else None,
            state,
        )


@dataclass(frozen=True, slots=True)
class Making:
    """How keys and certificates are made, and how long the stages of a rotation last."""

    trust_domain: str
    wait: timedelta
    serials: Callable[[], int] = x509.random_serial_number
    kind: KeyType = KeyType.ECDSA_P256

    def made(self, now: datetime) -> SharedAuthority:
        """A new authority, which nobody trusts yet."""
        root = self._root(now)
        return SharedAuthority(
            self._intermediate(root, now), (root.certificate,), root, None, State(Stage.STABLE, now)
        )

    def due(self, now: datetime, of: SharedAuthority, asked: str = "") -> SharedAuthority | None:
        """What is to stand there now, if it is something else. `asked`: an operator's request for a new root; each is heeded once.

        CannotRotate if one was asked for that cannot be.
        """
        state = of.state
        if state.stage is not Stage.STABLE:
            if now - state.since < self.wait:
                return self._renewed(of, now)
            return self._further(of, now)
        if asked and asked != state.asked:
            return self._begun(of, now, asked)
        if of.root is not None and _old(of.root.certificate, now):
            return self._begun(of, now, state.asked)
        return self._renewed(of, now)

    def _begun(self, of: SharedAuthority, now: datetime, asked: str) -> SharedAuthority:
        if of.root is None:
            raise CannotRotate(
                f"there is no key of a root ({ROOT}): whoever keeps it brings the new root into {ROOTS} first, then "
                f"{CHAIN} and {KEY}, and takes the old one out last"
            )
        following = self._root(now)
        return replace(
            of,
            next=following,
            roots=(*of.roots, following.certificate),
            state=State(Stage.TRUSTING, now, asked),
        )

    def _further(self, of: SharedAuthority, now: datetime) -> SharedAuthority:
        if of.state.stage is Stage.TRUSTING and of.next is not None:
            state = replace(of.state, stage=Stage.SIGNING, since=now)
            return replace(of, signer=self._intermediate(of.next, now), root=of.next, next=None, state=state)
        roots = of.roots if of.root is None else (of.root.certificate,)
        return replace(of, roots=roots, next=None, state=replace(of.state, stage=Stage.STABLE, since=now))

    def _renewed(self, of: SharedAuthority, now: datetime) -> SharedAuthority | None:
        if of.root is None or of.signer.fresh(now):
            return None
        if of.signer.certificate.not_valid_after_utc >= of.root.certificate.not_valid_after_utc:
            return None  # a new one would not live longer
        return replace(of, signer=self._intermediate(of.root, now))

    def _root(self, now: datetime) -> Signer:
        key, serial = new_key(self.kind), self.serials()
        times = profile.validity(now, profile.ROOT_LIFETIME, None)
        certificate = profile.root(self.trust_domain, key.public_key(), times, serial)
        return Signer(key, certificate.sign(key, keys.digest(key)))

    def _intermediate(self, root: Signer, now: datetime) -> Signer:
        key, serial = new_key(self.kind), self.serials()
        times = profile.validity(now, profile.INTERMEDIATE_LIFETIME, root.certificate)
        builder = profile.intermediate(self.trust_domain, key.public_key(), root.certificate, times, serial)
        return Signer(key, root.sign(builder))


def _old(root: x509.Certificate, now: datetime) -> bool:
    """Whether four fifths of its life are over."""
    begin, end = root.not_valid_before_utc, root.not_valid_after_utc
    return now >= begin + (end - begin) * 4 / 5


def _certificates(content: bytes, where: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except (ValueError, x509.InvalidVersion):
        raise DamagedAuthority(f"{where} does not hold certificates in PEM") from None


def _signer(content: bytes, where: str) -> Signer:
    certificate = _certificates(content, where)[0]
    try:
        key = keys.private(serialization.load_pem_private_key(content, None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # the cause might quote the content
    if key is None or certificate.public_key() != key.public_key():
        raise DamagedAuthority(f"{where} are not a key of {keys.ACCEPTED} and its certificate")
    return Signer(key, certificate)
