"""An authority whose intermediate somebody else's root has signed: its key, its chain and the roots are files that are renewed in place.

    chain.pem   the intermediate first, then whatever stands between it and the root
    key.pem     the intermediate's key, 0600, encrypted if a passphrase is given
    roots.pem   the trust bundle: several while one root replaces another

Whoever keeps the files decides when a root comes and goes: bring the new one into `roots.pem` first, and take the old one out last, when
`meshwright status` says that every proxy has the new bundle. What cannot be used leaves in force what was read before.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ca import files, keys
from ca.authority import IssuedCertificate, LeafRequest, TrustBundle
from ca.certificate import extension, pem, uris
from ca.certify import certify
from ca.errors import AuthorityError, DamagedAuthority, WrongTrustDomain
from ca.signer import Signer
from ca.times import Clock
from mesh.identity import TrustDomains

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file: inode, size, time of its last change; None of one that is not there."""


@dataclass(frozen=True, slots=True)
class AuthorityFiles:
    """`remedy`: how somebody changes the roots, where whoever keeps the files has a way of his own."""

    chain: Path
    key: Path
    roots: Path
    remedy: str = ""

    def stamp(self) -> Stamp:
        return tuple(_stamp(path) for path in (self.chain, self.key, self.roots))


@dataclass(frozen=True, slots=True)
class _Read:
    signer: Signer
    chain_pem: bytes
    roots: tuple[bytes, ...]


class FilesAuthority:
    """An `Authority`. Use it from one event loop, and `look` from time to time."""

    def __init__(
        self,
        where: AuthorityFiles,
        trust_domain: str,
        clock: Clock,
        serials: Callable[[], int],
        passphrase: bytes | None,
        aliases: tuple[str, ...] = (),
    ) -> None:
        """For `open`."""
        self._files = where
        self._aliases = aliases
        self._trust_domain = trust_domain
        self._clock = clock
        self._serials = serials
        self._passphrase = passphrase
        self._stamp = where.stamp()
        self._read = self._load()
        self.problem = ""
        """Why the files are not used as they are now; empty if they are."""

    @classmethod
    def open(
        cls,
        where: AuthorityFiles,
        trust_domain: str,
        clock: Clock,
        *,
        passphrase: bytes | None = None,
        serials: Callable[[], int] = x509.random_serial_number,
        aliases: tuple[str, ...] = (),
    ) -> Self:
        """Errors: DamagedAuthority, WrongTrustDomain, InsecureFile; OSError if a file can't be read. Reads files. `aliases`: whose
        intermediate it may be, besides (`mesh.identity.TrustDomains`).
        """
        return cls(where, trust_domain, clock, serials, passphrase, aliases)

    def roots(self) -> TrustBundle:
        return TrustBundle(self._trust_domain, self._read.roots)

    @property
    def not_after(self) -> datetime:
        """When the intermediate ends: it has to be replaced before."""
        return self._read.signer.certificate.not_valid_after_utc

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        return certify(
            request,
            self._read.signer,
            trust_domain=self._trust_domain,
            now=self._clock(),
            serial=self._serials(),
            where=str(self._files.chain),
            remedy="have a new intermediate signed, and put it there",
            chain_pem=self._read.chain_pem,
        )

    async def look(self) -> bool:
        """Read the files again if they have changed; whether the trust bundle is another now."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> bool:
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return False
        try:
            read = self._load()
        except (AuthorityError, OSError) as error:
            # Not remembered: while several files are being replaced they do not fit each other.
            self.problem = str(error)
            return False
        before, self._read, self._stamp, self.problem = self._read.roots, read, stamp, ""
        return before != read.roots

    def _load(self) -> _Read:
        chain, roots = _certificates(self._files.chain), _certificates(self._files.roots)
        signer = Signer(self._key(), chain[0])
        if signer.key.public_key() != chain[0].public_key():
            raise DamagedAuthority(
                f"the key of {self._files.key} is not that of the first certificate of {self._files.chain}: put the "
                "intermediate first, or name the right files"
            )
        for each in chain:
            _check_signs(each, self._files.chain)
        _check_chain(chain, roots, self._files)
        _check_trust_domain(chain[0], TrustDomains(self._trust_domain, self._aliases), self._files.chain)
        between = tuple(each for each in chain[1:] if each not in roots)
        return _Read(signer, b"".join(map(pem, between)), tuple(map(pem, roots)))

    def _key(self) -> keys.PrivateKey:
        path = self._files.key
        content = files.read_private(path)
        try:
            key = keys.private(serialization.load_pem_private_key(content, self._passphrase))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None  # the cause might quote the content
        if key is None:
            raise DamagedAuthority(
                f"{path} does not hold a key of {keys.ACCEPTED}, or not one for this passphrase: see setting ca_passphrase_file"
            )
        return key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (ValueError, x509.InvalidVersion):
        raise DamagedAuthority(f"{path} does not hold certificates in PEM") from None


def _check_signs(certificate: x509.Certificate, path: Path) -> None:
    """RFC 5280, 4.2.1.9 and 4.2.1.3: who signs says so, and its path length counts what stands below it."""
    try:
        constraints = extension(certificate, x509.BasicConstraints)
        usage = extension(certificate, x509.KeyUsage)
    except ValueError:
        constraints = usage = None
    signs = constraints is not None and constraints.ca and usage is not None and usage.key_cert_sign
    if not signs:
        raise DamagedAuthority(
            f"{path}: {certificate.subject.rfc4514_string()[:200]} may not sign certificates: have it issued with CA:TRUE and "
            "keyCertSign"
        )


def _check_chain(chain: list[x509.Certificate], roots: list[x509.Certificate], where: AuthorityFiles) -> None:
    for below, above in itertools.pairwise(chain):
        if not _issued(below, above):
            raise DamagedAuthority(
                f"{where.chain}: {below.subject.rfc4514_string()[:200]} is not signed by the certificate after it"
            )
    if chain[-1] not in roots and not any(_issued(chain[-1], root) for root in roots):
        raise DamagedAuthority(
            f"{where.chain} does not lead to any root of {where.roots}: add the root that signed it"
        )


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_trust_domain(certificate: x509.Certificate, domains: TrustDomains, path: Path) -> None:
    """An intermediate of SPIFFE names its trust domain (X509-SVID, 3.1); one of an ordinary authority names none."""
    found = [uri for uri in uris(certificate) if uri.startswith("spiffe:")]
    if found and found not in [[f"spiffe://{each}"] for each in domains.all]:
        raise WrongTrustDomain(
            f"{path} is an intermediate of {', '.join(found)[:200]}, not of the trust domain {domains.own!r}"
        )
