"""Private files: written whole or not at all, readable by their owner alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from ca.errors import InsecureFile

PRIVATE = 0o600
PUBLIC = 0o644
TEMPORARY_SUFFIX = ".tmp"


def private_directory(path: Path) -> Path:
    """`path` as a directory that only its owner may enter (0700), made if it is missing. OSError if that cannot be."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)
    return path


def own_directory(path: Path) -> Path:
    """`path`, made for its owner alone (0700) if it is missing; one that is there is the user's and keeps its mode."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Replace `path` by `content`. After a crash at any moment it holds the old or the new content, never a part.

    The file has its mode from its first byte on. Returns after the content and its name are on the disk. Of two threads that write it at
    once, the one that ends last has it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{TEMPORARY_SUFFIX}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Put the names in `path` on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted `write_atomically` left. The caller holds the directory's lock."""
    for path in directory.glob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def read_private(path: Path) -> bytes:
    """The content of `path`. InsecureFile if others than its owner may read it; OSError if it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise InsecureFile(
                f"{path} holds a secret and has mode {mode:04o}, so that others may have read it: "
                f"replace the secret, or run `chmod 600 {path}` if nobody has"
            )
        return file.read()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `directory`'s lock against other processes and threads. It ends with the process, however that ends."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
