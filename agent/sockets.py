"""Where the Unix sockets of the agent and its Envoy are: in a directory that is its owner's alone."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from agent.errors import BadOption

LONGEST_PATH: Final = 107
"""Bytes of a Unix socket's path on Linux, without the zero at the end: https://man7.org/linux/man-pages/man7/unix.7.html"""
KEYS: Final = "agent.sock"
LEAVE: Final = "leave.sock"
ADMIN: Final = "admin.sock"
"""Envoy's admin interface, where it is none of the host's ports."""


def socket_path(directory: Path, short: Path, name: str = KEYS) -> Path:
    """Where the agent of `directory`, or its Envoy, listens: the same path at each start. In `short`, a directory for such things, where the
    path in `directory` would be too long for a socket; BadOption if that does not help either.
    """
    whole = directory.resolve()
    path = whole / "sds" / name
    if len(os.fsencode(path)) > LONGEST_PATH:
        path = short / f"meshwright-{hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]}" / name
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise BadOption(
            f"{directory} and {short} are too long for a Unix socket in them, which takes {LONGEST_PATH} bytes: "
            "give a shorter --data-dir, or set TMPDIR or XDG_RUNTIME_DIR to a shorter one"
        )
    return path


def own(directory: Path) -> None:
    """Make `directory` ours alone. It may be in one where others write: theirs is not taken, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(f"{directory} is not a directory of this user: remove it, or have its owner do so")
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)
