"""Certificates of gateways: the files that Secret documents name, read, watched, and kept as long as nothing better is there; and what
others read elsewhere and give here.

Files are looked at again and again rather than watched by the system: whatever renews them (moving links, writing in place, a network
mount) is seen within a second. What cannot be used, or has gone, leaves in force what was read before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from ca.edge_secrets import EdgeSecret, UnusableFile, authorities, certificate, together
from envoy import names
from mesh.gateway_references import SECRET
from mesh.gateway_secrets import NOTHING_LOADED, Loaded
from mesh.names import Key
from mesh.secrets import Bundle, SecretFiles
from mesh.state import MeshState
from xds.resource import Resource, encode
from xds.types import SECRET as SECRET_TYPE

EVERY = 1.0
"""Seconds between two looks."""

log = structlog.get_logger(__name__)

Stamp = tuple[tuple[int, int, int, int] | None, ...]
"""Of each file: inode, size, time of its last change in nanoseconds, mode; None of one that is not there."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is in force of one Secret. `stamp`: of its `files` when they were read last, whatever came of it; None of one that is not of files.
    `problem`: why what is there is not used as it is now; `pending`: that is only because it is being read.
    """

    files: SecretFiles | None = None
    stamp: Stamp = ()
    certificate: EdgeSecret | None = None
    authorities: EdgeSecret | None = None
    problem: str = ""
    pending: bool = False


class CertificateStore(Protocol):
    """What a publisher asks of whoever keeps certificates."""

    @property
    def loaded(self) -> Loaded: ...
    def resources(self, certificates: Iterable[Key], bundles: Iterable[Bundle]) -> tuple[Resource, ...]: ...


class NoCertificates:
    """Where there are none."""

    loaded = NOTHING_LOADED

    def resources(self, certificates: Iterable[Key], bundles: Iterable[Bundle]) -> tuple[Resource, ...]:
        del certificates, bundles
        return ()


class Certificates:
    """`root`: the directory of the documents, to which paths are relative. `forbidden`: a directory of whose files none is ever read,
    that of the control plane's own keys. `clock` tells the time in UTC.
    """

    def __init__(self, root: Path | None, forbidden: Path, clock: Callable[[], datetime]) -> None:
        self.loaded: Loaded = NOTHING_LOADED
        self._root = root
        self._forbidden = forbidden
        self._clock = clock
        self.moves = 0
        """Another number when anything of what is held, or of what is wrong with it, is another."""
        self._held: dict[Key, Held] = {}
        self._given: dict[Key, Held] = {}
        # Awaited before each look: who reads elsewhere says here what it has, for a first answer that is whole.
        self.beside: Callable[[MeshState], Awaitable[None]] = _nothing
        self._woken = asyncio.Event()
        self._looking = asyncio.Lock()

    def resources(self, certificates: Iterable[Key], bundles: Iterable[Bundle]) -> tuple[Resource, ...]:
        """SDS secrets: the certificates, with their keys, and the authorities of those that could be read."""
        shown = (
            encode(
                SECRET_TYPE, names.gateway_certificate(key), held.certificate.resource, (f"{SECRET} {key}",)
            )
            for key in sorted(certificates)
            if (held := self._held.get(key)) is not None and held.certificate is not None
        )
        return (*shown, *(each for bundle in sorted(bundles) for each in self._bundle(bundle)))

    def _bundle(self, bundle: Bundle) -> Iterator[Resource]:
        """None where none of it could be read: whoever needs it connects to nobody."""
        known = {
            key: held.authorities
            for key in bundle
            if (held := self._held.get(key)) is not None and held.authorities is not None
        }
        name = names.gateway_authorities(*bundle)
        made = together(name, known.values())
        if made is not None:
            yield encode(SECRET_TYPE, name, made.resource, tuple(f"{SECRET} {key}" for key in known))

    def problem(self, key: Key) -> str:
        """Why the files of a Secret are not used as they are, or what is odd about them; empty if all is well."""
        held = self._held.get(key)
        if held is None:
            return ""
        served = held.certificate is not None or held.authorities is not None
        if held.problem:
            return f"{held.problem} (what was read before stays in force)" if served else held.problem
        for each in (held.certificate, held.authorities):
            if each is not None and each.not_after <= self._clock():
                return f"a certificate has ended at {each.not_after.isoformat()}: renew it"
        return ""

    def first_expiry(self) -> datetime | None:
        """When the first certificate that is served ends."""
        return min(
            (held.certificate.not_after for held in self._held.values() if held.certificate is not None),
            default=None,
        )

    def wake(self) -> None:
        """Look now: documents have changed."""
        self._woken.set()

    async def run(self, state: Callable[[], MeshState], changed: Callable[[frozenset[Key]], None]) -> None:
        """Keep all up to date and tell `changed` which secrets are others now, until cancelled."""
        while True:
            self._woken.clear()
            await self.look(state(), changed)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), EVERY)

    async def look(self, state: MeshState, changed: Callable[[frozenset[Key]], None]) -> None:
        """Read what is new or has changed."""
        async with self._looking:
            await self._look(state, changed)

    def give(self, given: dict[Key, Held], changed: Callable[[frozenset[Key]], None]) -> None:
        """What somebody else holds, all of it: it comes before files of the same name. `changed` is told as by `run`."""
        files = {key: each for key, each in self._held.items() if key not in self._given}
        self._given = given
        self._hold({**files, **given}, changed)

    async def _look(self, state: MeshState, changed: Callable[[frozenset[Key]], None]) -> None:
        await self.beside(state)
        wanted = {
            key: value
            for (kind, key), value in state.declared.items()
            if kind == SECRET and isinstance(value, SecretFiles)
        }
        if not wanted and not self._held:
            return
        files = {key: each for key, each in self._held.items() if key not in self._given}
        held = await asyncio.to_thread(self._read, wanted, files)
        self._hold({**held, **self._given}, changed)

    def _hold(self, held: dict[Key, Held], changed: Callable[[frozenset[Key]], None]) -> None:
        moved = frozenset(
            key for key in {*held, *self._held} if _served(held.get(key)) != _served(self._held.get(key))
        )
        for key, each in held.items():
            before = self._held.get(key)
            if each.problem and not each.pending and (before is None or before.problem != each.problem):
                log.warning("secret not used as it is", secret=str(key), reason=each.problem)
            elif key in moved:
                log.info("secret read", secret=str(key))
        self.moves += held != self._held
        self._held = held
        if moved:
            self.loaded = Loaded(
                frozenset(key for key, each in held.items() if each.certificate is not None),
                frozenset(key for key, each in held.items() if each.authorities is not None),
            )
            changed(moved)

    def _read(self, wanted: dict[Key, SecretFiles], held: dict[Key, Held]) -> dict[Key, Held]:
        made = {}
        for key, files in wanted.items():
            before, stamp = held.get(key), self._stamp(files)
            if before is not None and (before.files, before.stamp) == (files, stamp):
                made[key] = before
            else:
                made[key] = self._taken(files, stamp, before)
        return made

    def _taken(self, files: SecretFiles, stamp: Stamp, before: Held | None) -> Held:
        """What of a Secret is in force now; of a document that no longer names a certificate, or authorities, none of them."""
        had = before or Held(files, stamp)
        try:
            shown = known = None
            if files.certificate is not None and files.private_key is not None:
                chain, key = self._path(files.certificate), self._path(files.private_key)
                shown = certificate(names.gateway_certificate(files.key), chain, key)
            if files.authorities is not None:
                known = authorities(names.gateway_authorities(files.key), self._path(files.authorities))
        except UnusableFile as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 (files are anybody's: what they make a parser do must not end all others)
            # No more than the type: a message may hold what the file does.
            problem = f"its files cannot be used ({type(error).__name__}): replace them"
        else:
            return Held(files, stamp, shown, known)
        return Held(
            files,
            stamp,
            had.certificate if files.certificate is not None else None,
            had.authorities if files.authorities is not None else None,
            problem,
        )

    def _path(self, text: str) -> Path:
        path = Path(text)
        if not path.is_absolute():
            if self._root is None:
                raise UnusableFile(
                    f"{text} is relative and there is no directory of documents: use an absolute path"
                )
            path = self._root / path
        try:
            found = path.resolve()
        except RuntimeError:  # Python 3.11 and 3.12 say it so; later ones leave it to who opens the file
            raise UnusableFile(f"{text} is a link that leads back to itself: name a file") from None
        if found.is_relative_to(self._forbidden.resolve()):
            raise UnusableFile(f"{text} is in the control plane's own data directory: use files of your own")
        return path

    def _stamp(self, files: SecretFiles) -> Stamp:
        return tuple(
            self._stamp_of(each) for each in (files.certificate, files.private_key, files.authorities) if each
        )

    def _stamp_of(self, text: str) -> tuple[int, int, int, int] | None:
        try:
            found = ((self._root or Path()) / text).stat()
        except (OSError, ValueError):
            return None  # reading it says why
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


async def _nothing(_state: MeshState) -> None:
    pass


def _served(held: Held | None) -> tuple[bytes | None, bytes | None]:
    if held is None:
        return None, None
    return (
        held.certificate.resource if held.certificate is not None else None,
        held.authorities.resource if held.authorities is not None else None,
    )
