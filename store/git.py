"""Which commit a directory of documents is at, where it is in a working tree of Git."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 10.0
"""Seconds that Git may take."""
MOVES = ("HEAD", "index", "logs/HEAD")
"""Files of a repository of which one is another after a commit, a checkout or a pull."""


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """`commit` is whole, "" before the first; `branch` is "" when none is checked out. `changed`: documents are not as committed."""

    commit: str
    branch: str
    changed: bool

    def __str__(self) -> str:
        commit = f"commit {self.commit[:12]}" if self.commit else "no commit"
        return (
            commit + (f" ({self.branch})" if self.branch else "") + (" with changes" if self.changed else "")
        )


class GitReader:
    """Of one directory. Asks Git only when something may have changed. For one thread at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stamp: tuple[int, ...] | None = None
        self._last: WorkingTree | None = None

    def look(self, *, changed: bool) -> WorkingTree | None:
        """The working tree that the directory is in; None if it is in none, or Git cannot be asked. `changed`: documents are others
        than at the last look.
        """
        repository = _repository(self._root)
        if repository is None:
            self._stamp = self._last = None
            return None
        stamp = tuple(_modified(repository / name) for name in MOVES)
        if changed or stamp != self._stamp:
            self._stamp, self._last = stamp, _asked(self._root)
        return self._last


def _repository(root: Path) -> Path | None:
    """Where Git keeps what it knows of the working tree around `root`."""
    for folder in (root.absolute(), *root.absolute().parents):
        inside = folder / ".git"
        try:
            if inside.is_dir():
                return inside
            if inside.is_file():  # A worktree or a submodule: gitrepository-layout(5).
                return folder / inside.read_text().removeprefix("gitdir:").strip()
        except (OSError, UnicodeDecodeError):
            return None  # Not for us to read.
    return None


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _asked(root: Path) -> WorkingTree | None:
    # No hook or monitor of whoever owns the directory is run, and nothing of the repository is written.
    command = ("git", "-c", "core.fsmonitor=false", "--no-optional-locks", "-C", str(root))
    try:
        ran = subprocess.run(
            (*command, "status", "--porcelain=v2", "--branch", "--", "."),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # There is no Git here, or it hangs: the documents are read all the same.
    if ran.returncode:
        return None  # For instance a directory of another user (`safe.directory`).
    said = dict(line[2:].split(" ", 1) for line in ran.stdout.splitlines() if line.startswith("# "))
    commit, branch = said.get("branch.oid", ""), said.get("branch.head", "")
    return WorkingTree(
        "" if commit == "(initial)" else commit,
        "" if branch == "(detached)" else branch,
        any(not line.startswith("#") for line in ran.stdout.splitlines()),
    )
