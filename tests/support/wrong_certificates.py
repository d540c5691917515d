"""Certificates of a real authority, and those that every sidecar has to refuse."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import LeafRequest
from ca.builtin import BuiltinAuthority
from ca.csr import make_csr
from ca.keys import key_pem, new_key
from ca.profile import leaf, validity
from mesh.identity import Identity
from tests.support.ca_builders import HandClock

LONG = timedelta(days=20)


class Case(StrEnum):
    """What is wrong with who shows it."""

    FOREIGN = "wrong-trust-domain"
    EXPIRED = "expired"
    EARLY = "not-yet-valid"
    SELF_SIGNED = "self-signed"
    OTHER = "right-ca-wrong-identity"
    PLAINTEXT = "plaintext"


@dataclass(frozen=True, slots=True)
class Shown:
    """PEM: the leaf and its intermediates, and the key."""

    chain: bytes
    key: bytes

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.chain)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return chain, key


class Authorities:
    """Ours, and that of another mesh; both are the program's own."""

    def __init__(
        self, clock: HandClock, ours: BuiltinAuthority, other: BuiltinAuthority, trust_domain: str
    ) -> None:
        self._clock, self._ours, self._other = clock, ours, other
        self._trust_domain = trust_domain

    @classmethod
    def make(cls, folder: Path, trust_domain: str) -> Self:
        """Both authorities are older than what they have ever signed."""
        clock = HandClock(datetime.now(UTC) - 2 * LONG)
        ours = BuiltinAuthority.open(folder / "ours", trust_domain, clock)
        other = BuiltinAuthority.open(folder / "other", "other.test", clock)
        return cls(clock, ours, other, trust_domain)

    @property
    def roots(self) -> bytes:
        return self._ours.roots().pem

    async def good(self, account: str) -> Shown:
        return await self._issued(self._ours, self._trust_domain, account)

    async def shown(self, case: Case, account: str) -> Shown | None:
        """What somebody shows who should be `account`; nothing for plaintext."""
        match case:
            case Case.FOREIGN:
                return await self._issued(self._other, "other.test", account)
            case Case.EXPIRED:
                return await self._issued(self._ours, self._trust_domain, account, -LONG)
            case Case.EARLY:
                return await self._issued(self._ours, self._trust_domain, account, LONG)
            case Case.SELF_SIGNED:
                return _self_signed(Identity(self._trust_domain, "default", account))
            case Case.OTHER:
                return await self.good("thief")
            case Case.PLAINTEXT:
                return None

    def of_our_signer(self, identity: Identity) -> Shown:
        """With our own signature below an identity that the authority never issues: of another trust domain."""
        (pair,) = self._ours._pairs.values()
        assert pair.intermediate is not None
        key = new_key()
        request = LeafRequest(identity, make_csr(key))
        times = validity(datetime.now(UTC), timedelta(hours=1), pair.intermediate.certificate)
        made = pair.intermediate.sign(
            leaf(request, pair.intermediate.certificate, times, x509.random_serial_number())
        )
        chain = made.public_bytes(serialization.Encoding.PEM) + pair.intermediate.certificate_pem
        return Shown(chain, key_pem(key))

    async def _issued(
        self, authority: BuiltinAuthority, trust_domain: str, account: str, at: timedelta = timedelta()
    ) -> Shown:
        """Issued at that distance from now."""
        key = new_key()
        self._clock.now = datetime.now(UTC) + at
        issued = await authority.issue(LeafRequest(Identity(trust_domain, "default", account), make_csr(key)))
        return Shown(issued.chain_pem, key_pem(key))


def _self_signed(identity: Identity) -> Shown:
    key = ec.generate_private_key(ec.SECP256R1())
    now, nobody = datetime.now(UTC), x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)]), critical=True
        )
        .sign(key, hashes.SHA256())
    )
    return Shown(made.public_bytes(serialization.Encoding.PEM), key_pem(key))
