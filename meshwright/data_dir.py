"""The control plane's data directory: one control plane at a time, and nobody makes one by mistake."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from meshwright.errors import SettingsError

LOCK = "lock"
SOCKET = "admin.sock"
"""The API, for whoever owns the directory."""
AUTHORITY = "ca"
"""The folder that every control plane makes first."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Make the directory if there is none (0700), and hold it alone within the block. SettingsError if that cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"data directory {path} (--data-dir, MESHWRIGHT_DATA_DIR) cannot be used: {error.strerror}: "
            "name a directory that this user may write to"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another control plane works in the data directory {path}: stop it, or give this one its own with --data-dir"
            ) from None
        if path.stat().st_mode & 0o022:
            raise SettingsError(
                f"data directory {path} can be written by others, and holds the mesh's keys: chmod 700 {path}"
            )
        yield
    finally:
        os.close(descriptor)


def used(path: Path) -> Path:
    """`path`, if a control plane has worked there; SettingsError otherwise: nothing is made in a directory that was mistyped."""
    if not (path / AUTHORITY).is_dir():
        raise SettingsError(
            f"no control plane has worked in the data directory {path.absolute()}: name that of `meshwright serve` with "
            "--data-dir or MESHWRIGHT_DATA_DIR"
        )
    return path
