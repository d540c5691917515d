"""One look at a directory: which files there are, and which of them have to be read (again)."""

from __future__ import annotations

import hashlib
import os
import pathlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from documents.envelope import Kind
from documents.errors import Unreadable, Where
from documents.parsing import ParsedFile, parse
from documents.reading import MAX_FILE, too_large
from mesh.names import Key
from store.errors import DirectoryUnavailable

SUFFIXES = (".yaml", ".yml")
LOOKALIKES = (".yaml", ".yml", ".json", ".jsonc", ".toml")
"""In any case of letters: whoever puts such a file among documents probably means it to be read."""
YOUNG = 50_000_000
"""Nanoseconds. A file that was read within this time of its last change is looked into again: file systems count time
in steps of some milliseconds, so it may change once more without looking any different. It may also be half written,
so that what seems to be missing from it, or wrong in it, is believed only when it is older."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells, without reading it, that a file is another one than before."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was read last. `stamp` is None if it cannot be relied upon."""

    stamp: Stamp | None
    digest: bytes
    names: frozenset[tuple[str, Key]] = frozenset()


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look at the directory found: the files that say something new, and those that are there no more.

    `young` says that one of them was so new that another look is due. `skipped` are all files that look like documents and are
    not read, for their names.
    """

    read: tuple[ParsedFile, ...] = ()
    gone: tuple[str, ...] = ()
    young: bool = False
    skipped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.read or self.gone)


class Scanner:
    """Remembers what it has read. For one thread at a time.

    Files are named relative to `root`. Those whose names begin with a dot or `#` are left out, folders too: editors
    keep temporary files so, and Kubernetes the versions of a mounted ConfigMap, whose visible files are symbolic
    links into them. Links are followed, each folder once.
    """

    def __init__(self, root: pathlib.Path, kinds: tuple[Kind, ...], now: Callable[[], int]) -> None:
        self._root = root
        self._kinds = kinds
        self._now = now
        self._seen: dict[str, Seen] = {}

    def scan(self) -> Scan:
        """What has changed since the last call. Raises DirectoryUnavailable, having changed nothing."""
        listed = dict(_files(self._root))
        found = {name: entry for name, entry in listed.items() if name.endswith(SUFFIXES)}
        read: list[ParsedFile] = []
        young = False
        for name, (path, status) in sorted(found.items()):
            seen = self._seen.get(name)
            stamp = _stamp(status) if status is not None else None
            if seen is not None and stamp is not None and seen.stamp == stamp:
                continue
            parsed, now_seen = self._read(name, path, stamp, seen)
            young = young or (now_seen.stamp is None and stamp is not None)
            self._seen[name] = now_seen
            if parsed is not None:
                read.append(parsed)
        gone = tuple(sorted(self._seen.keys() - found.keys()))
        for name in gone:
            del self._seen[name]
        return Scan(tuple(read), gone, young, tuple(sorted(listed.keys() - found.keys())))

    def _read(
        self, name: str, path: str, stamp: Stamp | None, seen: Seen | None
    ) -> tuple[ParsedFile | None, Seen]:
        """The file, or None if it says what it said before."""
        try:
            data = _content(path, stamp)
        except Unreadable as error:
            refused = ParsedFile(name, errors=(Unreadable(Where(name), error.reason, error.remedy),))
            digest = hashlib.blake2b(str(error).encode()).digest()
            # Never taken as seen: what stands in the way may go without a trace on the file.
            return (None if seen is not None and seen.digest == digest else refused), Seen(
                None, digest, seen.names if seen else frozenset()
            )
        digest = hashlib.blake2b(data).digest()
        young = stamp is not None and abs(self._now() - max(stamp.modified, stamp.changed)) <= YOUNG
        if seen is not None and seen.digest == digest:
            return None, Seen(None if young else stamp, digest, seen.names)
        parsed = parse(name, data, self._kinds)
        names = frozenset(document.name for document in parsed.documents)
        if young and seen is not None and (parsed.errors or not seen.names <= names):
            return None, Seen(None, seen.digest, seen.names)
        return parsed, Seen(None if young else stamp, digest, names)


def _files(root: pathlib.Path) -> Iterator[tuple[str, tuple[str, os.stat_result | None]]]:
    """Every file below `root` that is a document or looks like one: its name, its path and its status, None for a link to nothing."""
    visited: set[tuple[int, int]] = set()
    folders = [(str(root), "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            status = pathlib.Path(folder).stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = list(entries)
        except FileNotFoundError as error:
            if not prefix:
                raise DirectoryUnavailable(f"the directory {root} is not there: create it") from error
            continue  # Removed since its parent was listed.
        except NotADirectoryError as error:
            if not prefix:
                raise DirectoryUnavailable(f"{root} is a file: give the directory that it is in") from error
            continue  # Replaced by a file since its parent was listed.
        except OSError as error:
            raise DirectoryUnavailable(
                f"cannot list the directory {folder}: {error.strerror}. Check what it is and its permissions"
            ) from error
        for entry in listed:
            if entry.name.startswith((".", "#")):
                continue
            name = f"{prefix}{entry.name}"
            try:
                status = entry.stat()
            except OSError:
                if entry.is_symlink() and entry.name.endswith(SUFFIXES):
                    yield name, (entry.path, None)
                continue  # Removed since it was listed, or a link to nothing that concerns us.
            if stat.S_ISDIR(status.st_mode):
                folders.append((entry.path, f"{name}/"))
            elif entry.name.lower().endswith(LOOKALIKES):
                yield name, (entry.path, status)


def _stamp(status: os.stat_result) -> Stamp | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _content(path: str, stamp: Stamp | None) -> bytes:
    """Raises Unreadable."""
    if stamp is None:
        raise Unreadable(
            Where(path), "it is not a regular file, nor a link to one", "Remove it or mend the link"
        )
    if stamp.size > MAX_FILE:
        raise Unreadable(Where(path), *too_large(stamp.size))
    try:
        with pathlib.Path(path).open("rb") as file:
            return file.read(MAX_FILE + 1)  # It may have grown since.
    except OSError as error:
        raise Unreadable(
            Where(path), f"cannot read the file: {error.strerror}", "Check its permissions"
        ) from error
