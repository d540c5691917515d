"""The built-in authority: a root and an intermediate, kept in a data directory.

    <data directory>/roots.pem             the trust bundle, public: what agents verify the control plane with
    <data directory>/ca/root.pem           key and certificate, 0600
    <data directory>/ca/intermediate.pem   key and certificate, 0600
    <data directory>/ca/rotation.json      which roots are trusted and which one signs (`ca.rotation`); none before the first rotation
    <data directory>/ca/next-*.pem         the same two of the generation that a rotation moves to, while it goes on

A key and its certificate are one file that is replaced whole, so that a crash cannot part them. A missing or damaged
intermediate, or one that is not valid yet (the clock was wrong), is made anew; a missing or damaged root never is, because
every workload trusts that very root. That it is missing shows in what else a control plane leaves in its data directory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ca import files, profile
from ca.authority import AuthorityStatus, IssuedCertificate, LeafRequest, TrustBundle
from ca.certificate import uris
from ca.certify import certify, check_trust_domain
from ca.errors import (
    AuthorityError,
    AuthorityExpired,
    AuthorityNotYetValid,
    DamagedAuthority,
    WrongTrustDomain,
)
from ca.keys import digest, new_key
from ca.rotation import Generation, Leftovers, RootId, Rotation, Stage, stable
from ca.saved import ROTATION
from ca.signer import Signer, Signers
from ca.times import Clock
from mesh.identity import TrustDomains

DEFAULT_SIGNERS = Signers()
ROOT = "root.pem"
INTERMEDIATE = "intermediate.pem"
BUNDLE = "roots.pem"
NEXT = "next-"
"""Begins the names of the files of the generation that a rotation moves to."""
REMEDY = "`meshwright ca rotate`"
TRACES = (BUNDLE, "tokens", "last-good")
"""In a data directory only after an authority was made there: they tell a lost one from one that never was."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What signs in one generation. `prefix` begins the names of its files; the intermediate is None once its root has ended."""

    root: Signer
    intermediate: Signer | None
    prefix: str = ""


class BuiltinAuthority:
    """An `Authority` whose keys are on this host. Use it from one event loop."""

    def __init__(
        self,
        data_dir: Path,
        trust_domain: str,
        *,
        rotation: Rotation,
        pairs: dict[int, Pair],
        clock: Clock,
        signers: Signers,
        created: bool = False,
    ) -> None:
        """For `open`, which reads or makes the signers: `pairs` by the numbers of the generations of `rotation`."""
        self.created = created
        """Whether the root was made by this very `open`: no workload that runs can trust it yet."""
        self._directory = data_dir / "ca"
        self._bundle_path = data_dir / BUNDLE
        self._trust_domain = trust_domain
        self._pairs = pairs
        self._clock = clock
        self._signers = signers
        self._renewing = asyncio.Lock()
        self._rotation = rotation
        self._roots = _bundle(trust_domain, rotation, pairs)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        trust_domain: str,
        clock: Clock,
        signers: Signers = DEFAULT_SIGNERS,
        aliases: tuple[str, ...] = (),
    ) -> Self:
        """The authority of `trust_domain` kept in `data_dir`, made there (`created`) if there never was one. `aliases`: whose root it may
        be, besides (`mesh.identity.TrustDomains`).

        Reads and writes files: call it before the event loop runs, or in a thread. Several processes may call it at once.

        Errors: WrongTrustDomain, DamagedAuthority, InsecureFile, AuthorityExpired, AuthorityNotYetValid; OSError if the
        directory cannot be used.
        """
        files.own_directory(data_dir)
        _check_not_lost(data_dir / "ca")
        directory = files.private_directory(data_dir / "ca")
        with files.locked(directory):
            files.remove_leftovers(directory)
            rotation = _tidied(directory, ROTATION.load(directory))
            created = not (directory / ROOT).exists()
            if created:
                _make_root(directory / ROOT, trust_domain, clock(), signers)
            domains = TrustDomains(trust_domain, aliases)
            rotation, pairs = _open_pairs(directory, domains, rotation, clock(), signers)
            bundle = data_dir / BUNDLE
            pem = _bundle(trust_domain, rotation, pairs).pem
            if not bundle.exists() or bundle.read_bytes() != pem:
                files.write_atomically(bundle, pem, files.PUBLIC)
        return cls(
            data_dir,
            trust_domain,
            rotation=rotation,
            pairs=pairs,
            clock=clock,
            signers=signers,
            created=created,
        )

    @property
    def root_trust_domains(self) -> frozenset[str]:
        """Those that the roots name which are trusted now."""
        roots = (pair.root for pair in self._pairs.values() if pair.root.id in self._rotation.bundle)
        return frozenset(_trust_domain(each.certificate) for each in roots)

    @property
    def bundle_path(self) -> Path:
        """The trust bundle as a file, for agents on this host and for copying to others."""
        return self._bundle_path

    def roots(self) -> TrustBundle:
        return self._roots

    def status(self) -> AuthorityStatus:
        """Of the generation that signs."""
        pair = self._pairs[self._rotation.signing]
        root = pair.root.certificate
        signer = (pair.intermediate or pair.root).certificate
        return AuthorityStatus(
            root.not_valid_before_utc, root.not_valid_after_utc, signer.not_valid_after_utc, REMEDY
        )

    # Rotation: `ca.rotation.RotatingAuthority`

    @property
    def rotation(self) -> Rotation:
        return self._rotation

    def root_ends(self, root: RootId) -> datetime:
        return next(
            pair.root.certificate.not_valid_after_utc for pair in self._pairs.values() if pair.root.id == root
        )

    async def prepare(self, *, root: bool) -> Generation:
        return await asyncio.to_thread(self._prepare, root=root)

    def _prepare(self, *, root: bool) -> Generation:
        now, directory, base = self._clock(), self._directory, self._rotation.base
        with files.locked(directory):
            made = self._pairs[base.number].root
            if root:
                _make_root(directory / (NEXT + ROOT), self._trust_domain, now, self._signers)
                made = self._signers.read(directory / (NEXT + ROOT))
            path = directory / (NEXT + INTERMEDIATE)
            path.unlink(missing_ok=True)
            signer = _open_intermediate(path, self._trust_domain, made, now, self._signers)
        number = base.number + 1
        self._pairs = {base.number: self._pairs[base.number], number: Pair(made, signer, NEXT)}
        return Generation(number, made.id)

    async def install(self, rotation: Rotation) -> None:
        pair = self._pairs[rotation.signing]
        _check_times(self._directory / (pair.prefix + ROOT), pair.root, self._clock())
        roots = _bundle(self._trust_domain, rotation, self._pairs)
        await asyncio.to_thread(self._install, rotation, roots.pem)
        self._rotation, self._roots = rotation, roots

    def _install(self, rotation: Rotation, pem: bytes) -> None:
        # Whoever takes the bundle too early is served all the same: what is shown at the doors is verified by both.
        files.write_atomically(self._bundle_path, pem, files.PUBLIC)
        ROTATION.save(self._directory, rotation)

    async def tidy(self) -> None:
        async with self._renewing:
            await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        with files.locked(self._directory):
            self._rotation = _tidied(self._directory, self._rotation) or self._rotation
            number = self._rotation.base.number
            pair = self._pairs[number]
            self._pairs = {number: Pair(pair.root, pair.intermediate)}

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        """Takes about 0.3 ms of CPU; now and then (twice a year) it renews the intermediate first."""
        check_trust_domain(request, self._trust_domain)
        now = self._clock()
        signer = self._pairs[self._rotation.signing].intermediate
        if signer is None or not signer.fresh(now):
            async with self._renewing:
                signer = self._pairs[self._rotation.signing].intermediate
                if signer is None or not signer.fresh(now):
                    signer = await self._renewed_intermediate(now)
                    # A rotation may have gone on meanwhile: what signs is decided now, and the ledger is told.
                    signer = self._pairs[self._rotation.signing].intermediate or signer
        generation = self._rotation.signing
        return certify(
            request,
            signer,
            trust_domain=self._trust_domain,
            now=now,
            serial=self._signers.serials(),
            where=str(self._directory),
            remedy=_anew(self._directory),
            generation=generation,
        )

    async def _renewed_intermediate(self, now: datetime) -> Signer:
        """The next one of the generation that signs; if the disk does not take it, the present one while it lasts.

        AuthorityError otherwise.
        """
        number = self._rotation.signing
        pair = self._pairs[number]
        try:
            made = await asyncio.to_thread(self._renew_intermediate, pair, now)
        except OSError as error:
            if pair.intermediate is not None:
                certificate = pair.intermediate.certificate
                if certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
                    return pair.intermediate
            raise AuthorityError(
                f"the intermediate in {self._directory} cannot be renewed: {error.strerror}: make room, or check its owner"
            ) from error
        if number in self._pairs:
            self._pairs[number] = replace(self._pairs[number], intermediate=made)
        return made

    def _renew_intermediate(self, pair: Pair, now: datetime) -> Signer:
        _check_times(self._directory / (pair.prefix + ROOT), pair.root, now)
        # Another process may have renewed it already: then that one is taken.
        with files.locked(self._directory):
            path = self._directory / (pair.prefix + INTERMEDIATE)
            return _open_intermediate(path, self._trust_domain, pair.root, now, self._signers)


def _bundle(trust_domain: str, rotation: Rotation, pairs: dict[int, Pair]) -> TrustBundle:
    pems = {pair.root.id: pair.root.certificate_pem for pair in pairs.values()}
    return TrustBundle(trust_domain, tuple(pems[each] for each in rotation.bundle))


def _tidied(directory: Path, rotation: Rotation | None) -> Rotation | None:
    """Finish what a rotation that is over, or that never began, has left; the state after that.

    It may be done again after a crash at any point. The caller holds the directory's lock.
    """
    if rotation is not None and rotation.stage is not Stage.STABLE:
        return rotation
    for name in (ROOT, INTERMEDIATE):
        path = directory / (NEXT + name)
        if rotation is not None and rotation.leftovers is Leftovers.KEEP and path.exists():
            path.replace(directory / name)
        path.unlink(missing_ok=True)
    files.sync_directory(directory)
    if rotation is not None and rotation.leftovers is not None:
        rotation = replace(rotation, leftovers=None)
        ROTATION.save(directory, rotation)
    return rotation


def _open_pairs(
    directory: Path,
    domains: TrustDomains,
    rotation: Rotation | None,
    now: datetime,
    signers: Signers,
) -> tuple[Rotation, dict[int, Pair]]:
    """What signs in each generation of `rotation`. The times of one that does not sign now are not insisted on."""

    def pair(prefix: str, root: Signer, *, signs: bool) -> Pair:
        if signs:
            _check_times(directory / (prefix + ROOT), root, now)
        begin, end = root.certificate.not_valid_before_utc, root.certificate.not_valid_after_utc
        if not begin <= now < end:
            return Pair(root, None, prefix)
        path = directory / (prefix + INTERMEDIATE)
        return Pair(root, _open_intermediate(path, domains.own, root, now, signers), prefix)

    root = _open_root(directory / ROOT, domains, signers)
    if rotation is None:
        rotation = stable(Generation(1, root.id), now)
    signing, base, following = rotation.signing, rotation.base, rotation.next
    _check_belongs(directory / ROOT, root, base)
    pairs = {base.number: pair("", root, signs=signing == base.number)}
    if following is not None:
        if following.root != base.root:
            root = _open_root(directory / (NEXT + ROOT), domains, signers)
            _check_belongs(directory / (NEXT + ROOT), root, following)
        pairs[following.number] = pair(NEXT, root, signs=signing == following.number)
    return rotation, pairs


def _check_belongs(path: Path, root: Signer, to: Generation) -> None:
    if root.id != to.root:
        raise DamagedAuthority(
            f"{path} is not the root that {ROTATION.name} beside it speaks of: restore {path.parent} whole from one backup"
        )


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


def _make_root(path: Path, trust_domain: str, now: datetime, signers: Signers) -> None:
    key, serial = new_key(signers.kind), signers.serials()
    times = profile.validity(now, profile.ROOT_LIFETIME, None)
    certificate = profile.root(trust_domain, key.public_key(), times, serial)
    signers.write(path, Signer(key, certificate.sign(key, digest(key))))


def _open_root(path: Path, domains: TrustDomains, signers: Signers) -> Signer:
    root = signers.read(path)
    found = _trust_domain(root.certificate)
    if found not in domains.all:
        raise WrongTrustDomain(
            f"{path} is the root of the trust domain {found!r}, not of {domains.own!r}: set the trust domain back, or choose another "
            "data directory; how a mesh moves to another trust domain is in docs/security.md"
        )
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
    path: Path, trust_domain: str, root: Signer, now: datetime, signers: Signers
) -> Signer:
    """The stored intermediate if it is root's, valid already and not past its half-life, else a new one, stored.

    It is of the trust domain of the leaves that it signs, whatever its root is of (X509-SVID, 3.1).
    """
    try:
        stored = signers.read(path)
        stored.certificate.verify_directly_issued_by(root.certificate)
        # Near the root's end a new intermediate would not live longer than the stored one.
        last = stored.certificate.not_valid_after_utc >= root.certificate.not_valid_after_utc
        timely = stored.fresh(now) or (last and stored.certificate.not_valid_before_utc <= now)
        if timely and _trust_domain(stored.certificate) == trust_domain:
            return stored
    except (FileNotFoundError, DamagedAuthority, InvalidSignature, ValueError, TypeError):
        pass  # not there yet, half made or another root's: a new one costs nothing, leaves carry it with them
    key, serial = new_key(signers.kind), signers.serials()
    times = profile.validity(now, profile.INTERMEDIATE_LIFETIME, root.certificate)
    builder = profile.intermediate(trust_domain, key.public_key(), root.certificate, times, serial)
    made = Signer(key, root.sign(builder))
    signers.write(path, made)
    return made


def _trust_domain(certificate: x509.Certificate) -> str:
    found = uris(certificate)
    return found[0].removeprefix("spiffe://") if found else ""
