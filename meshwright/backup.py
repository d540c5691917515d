"""Backup and restore of a data directory: the authority's keys, the store, the last good state, the audit log.

A backup is a tar archive with a manifest of what is in it and the hash of each file, written whole or not at all, 0600. Who has it is
the mesh, unless the authority's keys are encrypted (setting `ca_passphrase_file`).

What a copy of yesterday would tell wrongly is neither saved nor brought back: the ledger, which would not know of the leaves
that were issued since (without one, unknown leaves are reckoned with), and tokens, of which some were used or revoked since.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from ca import files
from ca.builtin import BUNDLE, ROOT
from ca.signer import ENCRYPTED
from meshwright.data_dir import AUTHORITY, LOCK, used
from meshwright.errors import SettingsError
from meshwright.stores import FILE as STORE
from store.sqlite import copy_of

MANIFEST: Final = "meshwright-backup.json"
FORMAT: Final = 1
STALE: Final = (f"{AUTHORITY}/issued*", "tokens/*", "api-tokens/*")
"""What is true for as long only as nothing happens: the patterns of `ca.ledger_file`, `ca.tokens` and `api.tokens`."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. `sealed`: the authority's keys are encrypted in it."""

    made: datetime
    files: int
    sealed: bool


def create(data_dir: Path, archive: Path, now: datetime) -> Backup:
    """Write `archive`; the control plane may run meanwhile. SettingsError if there is nothing to save or `archive` is there already;
    OSError.
    """
    used(data_dir)
    if archive.exists():
        raise SettingsError(f"{archive} is there already: name another file, or remove it")
    with contextlib.ExitStack() as stack:
        if (data_dir / AUTHORITY).is_dir():  # its files belong together
            stack.enter_context(files.locked(data_dir / AUTHORITY))
        names = ((str(path.relative_to(data_dir)), path) for path in _files(data_dir))
        contents = {name: _content(path) for name, path in names if not _stale(name)}
    sealed = ENCRYPTED in contents.get(f"{AUTHORITY}/{ROOT}", b"")
    manifest = {
        "format": FORMAT,
        "made": now.isoformat(),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in ((MANIFEST, json.dumps(manifest, indent=1).encode()), *contents.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), files.PRIVATE, int(now.timestamp())
            tar.addfile(entry, io.BytesIO(content))
    files.write_atomically(archive, packed.getvalue())
    return Backup(now, len(contents), sealed)


def restore(archive: Path, data_dir: Path) -> Backup:
    """Make `data_dir` of `archive`, whole or not at all. SettingsError if an authority is there already, or if the archive is damaged."""
    if data_dir.exists() and any(data_dir.iterdir()):
        raise SettingsError(
            f"{data_dir} is not empty: a backup is restored into a new directory; move this one away first"
        )
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{data_dir.name}.restore-", dir=data_dir.parent))
    try:
        made = _unpack(archive, aside)
        if data_dir.exists():
            data_dir.rmdir()
        aside.replace(data_dir)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    files.sync_directory(data_dir.parent)
    return made


def _files(data_dir: Path) -> Iterator[Path]:
    """What is kept: no sockets, no locks, nothing half written."""
    for path in sorted(data_dir.rglob("*")):
        if not stat.S_ISREG(path.lstat().st_mode) or path.name in {LOCK, ".lock"}:
            continue
        # What SQLite keeps beside the store is in the copy of it; its locks are named `.store.db.….lock`.
        beside = path.name.startswith((f"{STORE}-", f".{STORE}."))
        if not path.name.endswith(files.TEMPORARY_SUFFIX) and not beside:
            yield path


def _content(path: Path) -> bytes:
    """StoreError if the store cannot be read."""
    return copy_of(path) if path.name == STORE else path.read_bytes()


def _stale(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in STALE)


def _unpack(archive: Path, into: Path) -> Backup:
    damaged = f"{archive} is not a backup of Meshwright, or is damaged"
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            contents = {entry.name: _read(tar, entry) for entry in tar}
        manifest: dict[str, Any] = json.loads(contents.pop(MANIFEST))
        hashes: dict[str, str] = manifest["files"]
        made = datetime.fromisoformat(manifest["made"])
        known = manifest["format"] == FORMAT
    except FileNotFoundError as error:
        raise SettingsError(f"{archive}: {error.strerror}") from error
    except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError, OSError) as error:
        raise SettingsError(f"{damaged}: {type(error).__name__}") from error
    if not known:
        raise SettingsError(f"{archive} was made by a newer Meshwright: restore it with that")
    found = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    if found != hashes or f"{AUTHORITY}/{ROOT}" not in found:
        wrong = sorted(name for name in found | hashes if found.get(name) != hashes.get(name))
        raise SettingsError(f"{damaged}: {', '.join(wrong[:5]) or f'no {AUTHORITY}/{ROOT}'}")
    kept = {
        name: content for name, content in contents.items() if not _stale(name)
    }  # earlier versions saved that, too
    for name, content in kept.items():
        path = into / name
        if not path.resolve().is_relative_to(into.resolve()):
            raise SettingsError(f"{damaged}: {name!r} leads out of the directory")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_atomically(path, content, files.PUBLIC if name == BUNDLE else files.PRIVATE)
    into.chmod(0o700)
    return Backup(made, len(kept), ENCRYPTED in contents[f"{AUTHORITY}/{ROOT}"])


def _read(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry) if entry.isreg() else None
    if file is None:
        raise ValueError("something else than a file")
    return file.read()
