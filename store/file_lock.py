"""A lock among processes of one machine: a locked file. It ends with the process that holds it, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from store.errors import StoreLocked, StoreUnavailable

STEP = 0.05
"""Seconds between attempts: a thread that waits in flock() could not be cancelled."""


class FileLock:
    """Never lost while it is held."""

    async def lost(self) -> None:
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def file_lock(path: Path) -> AsyncIterator[FileLock]:
    """Wait for the lock, and hold it within the block. The file stays: removing it would let two hold it."""
    descriptor = _opened(path)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(STEP)
        yield FileLock()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held_alone(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock within the block; StoreLocked, which says `otherwise`, at once if another process has it."""
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreLocked(otherwise) from None
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}. Check that its directory is there and belongs to this user"
        ) from error
