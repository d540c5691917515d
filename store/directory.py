"""The one reader of documents: a directory of YAML files, watched.

A change is told of by the operating system (inotify and its like, through watchfiles) and found by comparing what is
there with what was read, so that it does not matter which of several ways of writing a file was used. Because some
file systems tell nothing (network mounts), the directory is looked at every few seconds all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace

import structlog
from watchfiles import awatch

from documents.envelope import Kind
from documents.sets import DocumentSet
from policies.registry import KINDS
from store.errors import DirectoryUnavailable
from store.git import GitReader, WorkingTree
from store.scanning import YOUNG, Scanner

STEP, DEBOUNCE = 1, 20
"""Milliseconds without a further change after which a change is told of, and the most that this may take."""


def read_once(root: pathlib.Path, kinds: tuple[Kind, ...] = KINDS) -> DocumentSet:
    """The documents of `root` as they are now, for whoever does not follow it. DirectoryUnavailable if it cannot be read."""
    scan = Scanner(root, kinds, time.time_ns).scan()
    return DocumentSet().with_files(scan.read, skipped=scan.skipped)


class Directory:
    """The documents of all `*.yaml` and `*.yml` files in `root` and its folders.

    `rescan` is how often, in seconds, it is looked at without being told of a change; `now` is the time in
    nanoseconds since the epoch, on the clock that the file system uses.
    """

    def __init__(
        self,
        root: pathlib.Path,
        kinds: tuple[Kind, ...] = KINDS,
        *,
        rescan: float = 2.0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.root = root
        self._kinds = kinds
        self._rescan = rescan
        self._now = now
        self._documents = DocumentSet()
        self._git = GitReader(root)
        self.tree: WorkingTree | None = None
        """The working tree of Git that it is in, as it was at the last look."""

    @property
    def latest(self) -> DocumentSet:
        """What was read last."""
        return self._documents

    def __aiter__(self) -> AsyncIterator[DocumentSet]:
        return self.watch()

    async def watch(self) -> AsyncGenerator[DocumentSet, None]:
        """The documents as they are, then again at every change; for one reader at a time.

        A file that is refused keeps what it held in an earlier watch of this object. A directory that cannot be
        read yields a set with its `failure`, once, and the same again when that changes.
        """
        scanner = Scanner(self.root, self._kinds, self._now)
        changed = asyncio.Event()
        watcher = asyncio.create_task(self._notice(changed), name=f"watch {self.root}")
        git = asyncio.create_task(self._look_at_tree(changed=True), name=f"git {self.root}")
        try:
            await asyncio.sleep(
                0
            )  # The watcher comes first, so that no change falls between it and the first look.
            told, fresh, others = False, True, True
            while True:
                changed.clear()
                documents, young = await asyncio.to_thread(self._look, scanner, fresh=fresh)
                others = others or documents is not self._documents
                fresh = fresh and bool(documents.failure)
                if documents is not self._documents or not told:
                    self._documents, told = documents, True
                    yield documents
                if git.done():  # Documents never wait for Git.
                    git = asyncio.create_task(self._look_at_tree(changed=others), name=f"git {self.root}")
                    others = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), 1.2 * YOUNG / 1e9 if young else self._rescan)
        finally:
            for task in (watcher, git):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _look_at_tree(self, *, changed: bool) -> None:
        self.tree = await asyncio.to_thread(self._git.look, changed=changed)

    def _look(self, scanner: Scanner, *, fresh: bool) -> tuple[DocumentSet, bool]:
        """The documents now: the same object if nothing has changed. And whether another look is due soon."""
        before = self._documents
        try:
            scan = scanner.scan()
        except DirectoryUnavailable as error:
            reason = str(error)
            return (before if before.failure == reason else before.failed(reason)), False
        if fresh:  # This scanner knows nothing of the files that an earlier one saw and that are gone by now.
            present = {each.file for each in scan.read}
            scan = replace(scan, gone=tuple(sorted(set(before.files) - present)))
        if not scan and not before.failure and scan.skipped == before.skipped:
            return before, scan.young
        return before.with_files(scan.read, scan.gone, scan.skipped), scan.young

    async def _notice(self, changed: asyncio.Event) -> None:
        """Set `changed` whenever the system tells of one. Where that cannot be had, the rescans remain."""
        log = structlog.get_logger().bind(directory=str(self.root))
        while True:
            try:
                watched = _identity(self.root)
                async for _ in awatch(
                    self.root,
                    watch_filter=None,
                    debounce=DEBOUNCE,
                    step=STEP,
                    rust_timeout=max(1, int(self._rescan * 1000)),
                    yield_on_timeout=True,
                ):
                    changed.set()
                    if _identity(self.root) != watched:
                        break  # Another directory of that name: watch this one.
            except FileNotFoundError:
                pass  # The next look reports it.
            except (OSError, RuntimeError) as error:  # For instance the limit of inotify watches.
                log.warning("directory is not watched, only looked at now and then", error=str(error))
            await asyncio.sleep(self._rescan)


def _identity(root: pathlib.Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
