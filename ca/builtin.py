"""The built-in authority: a root and an intermediate, ECDSA P-256, kept in a data directory.

    <data directory>/roots.pem             the trust bundle, public: what agents verify the control plane with
    <data directory>/ca/root.pem           key and certificate, 0600
    <data directory>/ca/intermediate.pem   key and certificate, 0600

A key and its certificate are one file that is replaced whole, so that a crash cannot part them. A missing or damaged
intermediate, or one that is not valid yet (the clock was wrong), is made anew; a missing or damaged root never is, because
every workload trusts that very root. That it is missing shows in what else a control plane leaves in its data directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca import files, profile
from ca.authority import IssuedCertificate, LeafRequest, TrustBundle
from ca.csr import key_pem, new_key
from ca.errors import (
    AuthorityError,
    AuthorityExpired,
    AuthorityNotYetValid,
    DamagedAuthority,
    WrongTrustDomain,
)
from ca.times import Clock

ROOT = "root.pem"
INTERMEDIATE = "intermediate.pem"
BUNDLE = "roots.pem"
TRACES = (BUNDLE, "tokens", "last-good")
"""In a data directory only after an authority was made there: they tell a lost one from one that never was."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing certificate and its key. The key is shown by no repr."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def __repr__(self) -> str:
        return f"Signer({self.certificate.subject.rfc4514_string()}, key=…)"

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pem(self) -> bytes:
        """Key and certificate: secret."""
        return key_pem(self.key) + self.certificate_pem

    def fresh(self, now: datetime) -> bool:
        """Whether it is valid already, and not past half of its life."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return begin <= now < begin + (end - begin) / 2


@dataclass(frozen=True, slots=True)
class AuthorityStatus:
    """When the signing certificates end, for metrics and warnings."""

    root_not_after: datetime
    intermediate_not_after: datetime


class BuiltinAuthority:
    """An `Authority` whose keys are on this host. Use it from one event loop."""

    def __init__(
        self,
        data_dir: Path,
        trust_domain: str,
        *,
        root: Signer,
        intermediate: Signer,
        clock: Clock,
        serials: Callable[[], int],
        created: bool = False,
    ) -> None:
        """For `open`, which reads or makes the signers."""
        self.created = created
        """Whether the root was made by this very `open`: no workload that runs can trust it yet."""
        self._directory = data_dir / "ca"
        self._bundle_path = data_dir / BUNDLE
        self._trust_domain = trust_domain
        self._root = root
        self._intermediate = intermediate
        self._clock = clock
        self._serials = serials
        self._renewing = asyncio.Lock()
        self._roots = TrustBundle(trust_domain, (root.certificate_pem,))

    @classmethod
    def open(
        cls,
        data_dir: Path,
        trust_domain: str,
        clock: Clock,
        serials: Callable[[], int] = x509.random_serial_number,
    ) -> Self:
        """The authority of `trust_domain` kept in `data_dir`, made there (`created`) if there never was one.

        Reads and writes files: call it before the event loop runs, or in a thread. Several processes may call it at once.

        Errors: WrongTrustDomain, DamagedAuthority, InsecureFile, AuthorityExpired, AuthorityNotYetValid; OSError if the
        directory cannot be used.
        """
        files.own_directory(data_dir)
        _check_not_lost(data_dir / "ca")
        directory = files.private_directory(data_dir / "ca")
        with files.locked(directory):
            files.remove_leftovers(directory)
            created = not (directory / ROOT).exists()
            if created:
                _make_root(directory, trust_domain, clock(), serials)
            root = _open_root(directory, trust_domain, clock())
            intermediate = _open_intermediate(directory, trust_domain, root, clock(), serials)
            bundle = data_dir / BUNDLE
            if not bundle.exists() or bundle.read_bytes() != root.certificate_pem:
                files.write_atomically(bundle, root.certificate_pem, files.PUBLIC)
        return cls(
            data_dir,
            trust_domain,
            root=root,
            intermediate=intermediate,
            clock=clock,
            serials=serials,
            created=created,
        )

    @property
    def bundle_path(self) -> Path:
        """The trust bundle as a file, for agents on this host and for copying to others."""
        return self._bundle_path

    def roots(self) -> TrustBundle:
        return self._roots

    def status(self) -> AuthorityStatus:
        return AuthorityStatus(
            self._root.certificate.not_valid_after_utc, self._intermediate.certificate.not_valid_after_utc
        )

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        """Takes about 0.3 ms of CPU; now and then (twice a year) it renews the intermediate first."""
        if request.identity.trust_domain != self._trust_domain:
            raise WrongTrustDomain(
                f"{request.identity} is not in the trust domain {self._trust_domain!r} of this authority"
            )
        now = self._clock()
        if not self._intermediate.fresh(now):
            async with self._renewing:
                if not self._intermediate.fresh(now):
                    self._intermediate = await self._renewed_intermediate(now)
        signer = self._intermediate
        times = profile.validity(now, request.lifetime, signer.certificate)
        if times.not_after <= now:
            raise AuthorityExpired(
                f"the authority in {self._directory} ended at {times.not_after}: {_anew(self._directory)}"
            )
        serial = self._serials()
        try:
            certificate = profile.leaf(request, signer.certificate, times, serial).sign(
                signer.key, hashes.SHA256()
            )
        except ValueError as error:
            raise AuthorityError(
                f"the authority in {self._directory} cannot certify {request.identity} from {times.not_before} "
                f"to {times.not_after}: {error}: is the clock of this host right?"
            ) from error
        return IssuedCertificate(
            identity=request.identity,
            workload=request.workload,
            chain_pem=certificate.public_bytes(serialization.Encoding.PEM) + signer.certificate_pem,
            serial=serial,
            issued=now,
            not_before=times.not_before,
            not_after=times.not_after,
        )

    async def _renewed_intermediate(self, now: datetime) -> Signer:
        """The next one; if the disk does not take it, the present one while it lasts. AuthorityError otherwise."""
        try:
            return await asyncio.to_thread(self._renew_intermediate, now)
        except OSError as error:
            certificate = self._intermediate.certificate
            if certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
                return self._intermediate
            raise AuthorityError(
                f"the intermediate in {self._directory} cannot be renewed: {error.strerror}: make room, or check its owner"
            ) from error

    def _renew_intermediate(self, now: datetime) -> Signer:
        _check_times(self._directory / ROOT, self._root, now)
        # Another process may have renewed it already: then that one is taken.
        with files.locked(self._directory):
            return _open_intermediate(self._directory, self._trust_domain, self._root, now, self._serials)


def _check_not_lost(directory: Path) -> None:
    """DamagedAuthority if the root is missing where there was one: a new one would cut off every workload that runs.

    Another process may be making the first one just now: it writes the root before whatever is a trace of it.
    """
    data_dir = directory.parent
    traces = [f"{directory.name}/{INTERMEDIATE}"] if (directory / INTERMEDIATE).exists() else []
    traces += [name for name in TRACES if (data_dir / name).exists()]
    if traces and not (directory / ROOT).exists():
        raise DamagedAuthority(
            f"{directory / ROOT} is missing, but {data_dir} has {', '.join(traces)} of an authority that was there: "
            f"restore {directory} from a backup; or {_anew(directory)}"
        )


def _anew(directory: Path) -> str:
    """The way out that costs most."""
    return (
        f"move {directory.name}, {', '.join(TRACES)} of {directory.parent} away to begin a new authority, which no running "
        "workload will trust: give every agent its new trust bundle and a new join token"
    )


def _make_root(directory: Path, trust_domain: str, now: datetime, serials: Callable[[], int]) -> None:
    key, serial = new_key(), serials()
    times = profile.validity(now, profile.ROOT_LIFETIME, None)
    certificate = profile.root(trust_domain, key.public_key(), times, serial)
    root = Signer(key, certificate.sign(key, hashes.SHA256()))
    files.write_atomically(directory / ROOT, root.pem)


def _open_root(directory: Path, trust_domain: str, now: datetime) -> Signer:
    path = directory / ROOT
    root = _read(path)
    found = _trust_domain(root.certificate)
    if found != trust_domain:
        raise WrongTrustDomain(
            f"{path} is the root of the trust domain {found!r}, not of {trust_domain!r}: "
            "set the trust domain back, or choose another data directory"
        )
    _check_times(path, root, now)
    return root


def _check_times(path: Path, root: Signer, now: datetime) -> None:
    begin, end = root.certificate.not_valid_before_utc, root.certificate.not_valid_after_utc
    if end <= now:
        raise AuthorityExpired(f"{path} ended at {end}: {_anew(path.parent)}")
    if begin > now:
        raise AuthorityNotYetValid(
            f"{path} is valid from {begin} on, and the clock of this host says {now.replace(microsecond=0)}: set the "
            f"clock right; or, if it was wrong when the authority was made, {_anew(path.parent)}"
        )


def _open_intermediate(
    directory: Path, trust_domain: str, root: Signer, now: datetime, serials: Callable[[], int]
) -> Signer:
    """The stored intermediate if it is root's, valid already and not past its half-life, else a new one, stored."""
    path = directory / INTERMEDIATE
    try:
        stored = _read(path)
        stored.certificate.verify_directly_issued_by(root.certificate)
        # Near the root's end a new intermediate would not live longer than the stored one.
        last = stored.certificate.not_valid_after_utc >= root.certificate.not_valid_after_utc
        if stored.fresh(now) or (last and stored.certificate.not_valid_before_utc <= now):
            return stored
    except (FileNotFoundError, DamagedAuthority, InvalidSignature, ValueError, TypeError):
        pass  # not there yet, half made or another root's: a new one costs nothing, leaves carry it with them
    key, serial = new_key(), serials()
    times = profile.validity(now, profile.INTERMEDIATE_LIFETIME, root.certificate)
    builder = profile.intermediate(trust_domain, key.public_key(), root.certificate, times, serial)
    made = Signer(key, builder.sign(root.key, hashes.SHA256()))
    files.write_atomically(path, made.pem)
    return made


def _read(path: Path) -> Signer:
    """FileNotFoundError, InsecureFile, or DamagedAuthority if the file is not a key with its certificate."""
    content = files.read_private(path)
    damaged = f"{path} does not hold a P-256 key and its certificate: restore it from a backup"
    try:
        key = serialization.load_pem_private_key(content, None)
        certificate = x509.load_pem_x509_certificate(content)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise DamagedAuthority(damaged) from None  # the cause might quote the content
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise DamagedAuthority(damaged)
    return Signer(key, certificate)


def _trust_domain(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0].removeprefix("spiffe://") if uris else ""
