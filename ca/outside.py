"""An authority that is kept elsewhere, in the place of one that rotates: its roots are changed there, and followed here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn, Protocol

from cryptography import x509

from ca import files
from ca.authority import Authority, AuthorityStatus, IssuedCertificate, LeafRequest, TrustBundle
from ca.certificate import fingerprint
from ca.errors import AuthorityError, CannotRotate
from ca.rotation import Generation, RootId, Rotation, stable
from ca.times import Clock

BUNDLE: Final = "roots.pem"
REMEDY: Final = (
    "the roots of this authority are changed where it is kept: bring the new root into its bundle first, and take the old "
    "one out last; `meshwright ca status` shows what is trusted"
)


class Followed(Authority, Protocol):
    """`ca.from_files.FilesAuthority`, `ca.vault.VaultAuthority`."""

    @property
    def problem(self) -> str:
        """Why it is not used as it is now; empty if it is."""
        ...

    @property
    def not_after(self) -> datetime | None:
        """When what signs ends, where that is known."""
        ...

    async def look(self) -> bool:
        """Whether the trust bundle is another now."""
        ...


class OutsideAuthority:
    """A `ca.rotation.RotatingAuthority` that is always stable. `follow` from time to time."""

    created: Final = False

    def __init__(self, authority: Followed, data_dir: Path, clock: Clock, remedy: str = REMEDY) -> None:
        """Writes the trust bundle into `data_dir`, which is there. OSError; AuthorityError if there is no root. `remedy`: how somebody
        changes its roots.
        """
        self._remedy = remedy
        self._authority = authority
        self._bundle_path = data_dir / BUNDLE
        self._clock = clock
        taken = _read(authority.roots())
        _write(self._bundle_path, taken.bundle.pem)
        self._adopt(taken)

    root_trust_domains: Final = frozenset[str]()
    """Roots of somebody else name none that is to be gone by."""

    @property
    def bundle_path(self) -> Path:
        return self._bundle_path

    @property
    def problem(self) -> str:
        return self._authority.problem

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        issued = await self._authority.issue(request)
        return replace(issued, generation=self._rotation.signing)

    def roots(self) -> TrustBundle:
        """Those on the disk: what the authority has besides is told to nobody before it is there."""
        return self._taken.bundle

    def status(self) -> AuthorityStatus:
        """Of the root that ends first."""
        first = min(self._taken.roots.values(), key=lambda root: root.not_valid_after_utc)
        ends = self._authority.not_after or first.not_valid_after_utc
        return AuthorityStatus(first.not_valid_before_utc, first.not_valid_after_utc, ends, self._remedy)

    async def follow(self) -> bool:
        """Whether the trust bundle is another now: everybody is to be told.

        OSError if it cannot be written, AuthorityError if it has no root: the one before is in force, and the next call tries again.
        """
        await self._authority.look()
        bundle = self._authority.roots()
        if bundle == self._taken.bundle:
            return False
        read = _read(bundle)
        await asyncio.to_thread(_write, self._bundle_path, bundle.pem)
        self._adopt(read)
        return True

    # `ca.rotation.RotatingAuthority`

    @property
    def rotation(self) -> Rotation:
        return self._rotation

    def root_ends(self, root: RootId) -> datetime:
        return self._taken.roots[root].not_valid_after_utc

    async def prepare(self, *, root: bool) -> Generation:
        del root
        self._refuse()

    async def install(self, rotation: Rotation) -> None:
        del rotation
        self._refuse()

    async def tidy(self) -> None:
        """Nothing is ever left over."""

    def _refuse(self) -> NoReturn:
        raise CannotRotate(self._remedy)

    def _adopt(self, taken: _Taken) -> None:
        ids = tuple(taken.roots)
        self._taken = taken
        self._rotation = replace(stable(Generation(1, ids[0]), self._clock()), bundle=ids)


@dataclass(frozen=True, slots=True)
class _Taken:
    bundle: TrustBundle
    roots: dict[RootId, x509.Certificate]


def _read(bundle: TrustBundle) -> _Taken:
    roots = {fingerprint(each): each for pem in bundle.roots for each in x509.load_pem_x509_certificates(pem)}
    if not roots:
        raise AuthorityError("the trust bundle has no root")
    return _Taken(bundle, roots)


def _write(path: Path, pem: bytes) -> None:
    if not path.exists() or path.read_bytes() != pem:
        files.write_atomically(path, pem, files.PUBLIC)
