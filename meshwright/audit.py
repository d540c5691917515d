"""The audit log: a line of JSON for every write, join, certificate and refusal, appended to `<data directory>/audit.log` (0600).

Nothing here rewrites or removes a line. Moving the file away (logrotate) is noticed: the next line begins a new one. Lines
are written in batches off the event loop, within milliseconds; SIGKILL can cost those. No line has a secret.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from ca import files
from ca.authority import Authority, IssuedCertificate, LeafRequest, TrustBundle
from ca.times import Clock, system_clock

FILE: Final = "audit.log"
WAITING: Final = 10_000
"""Lines that wait for the disk at most. Beyond, they are counted: a flood of attempts must not take the memory."""
LONGEST: Final = 1000
"""Characters of one text: names come from outside."""
RETRY: Final = 1.0

Value = str | int | float | None | list[str]

log = structlog.get_logger(__name__)


def line(clock: Clock, event: str, fields: dict[str, Value]) -> bytes:
    told: dict[str, Value] = {"time": clock().isoformat(timespec="milliseconds"), "event": event}
    told |= {name: short for name, value in fields.items() if (short := _short(value))}
    # ASCII: what comes from outside can neither end the line nor move the reader's cursor.
    return json.dumps(told, ensure_ascii=True).encode() + b"\n"


def append(path: Path, lines: Iterable[bytes]) -> None:
    """All of `lines` as one write, on the disk when it returns. Several processes may append at once. OSError.

    Where a full disk, or a power cut, has left a part of a line, that part stays alone: what was appended behind it would be unreadable
    with it. It is not cut off, for another process may have appended since.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE)
    try:
        content = memoryview(b"".join((b"\n" if _broken(descriptor) else b"", *lines)))
        while content:
            content = content[os.write(descriptor, content) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _broken(descriptor: int) -> bool:
    """Whether the file ends in the middle of a line."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def tell(data_dir: Path, event: str, **fields: Value) -> None:
    """One line from the command line, by the user who runs it. OSError."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # as in many containers
        user = str(uid)
    append(data_dir / FILE, [line(system_clock, event, {"user": user, **fields})])


class AuditLog:
    """`record` from the event loop; `run` writes. What is told after `run` has ended is written by `flush`."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self.path = data_dir / FILE
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._woken = asyncio.Event()
        self._failing = False

    def record(self, event: str, **fields: Value) -> None:
        """Neither blocks nor raises. Empty fields are left out."""
        if len(self._waiting) >= WAITING:
            self._lost += 1
        else:
            self._waiting.append(line(self._clock, event, fields))
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            batch = self._take()
            # Shielded: a write that has begun is heard out, so that its lines are neither lost nor written twice.
            writing = asyncio.create_task(asyncio.to_thread(self._write, batch))
            try:
                written = await asyncio.shield(writing)
            except asyncio.CancelledError:
                self._done(batch, written=await writing)
                raise
            self._done(batch, written=written)
            if not written:
                await asyncio.sleep(RETRY)

    def flush(self) -> None:
        """Write what waits, at the end. Blocks for the disk."""
        batch = self._take()
        self._done(batch, written=self._write(batch))

    def _take(self) -> list[bytes]:
        batch = list(self._waiting)
        self._waiting.clear()
        if self._lost:
            batch.append(line(self._clock, "lines lost", {"number": self._lost}))
            self._lost = 0
        return batch

    def _write(self, batch: list[bytes]) -> bool:
        if not batch:
            return True
        try:
            append(self.path, batch)
        except OSError as error:
            if not self._failing:
                log.warning("the audit log cannot be written", file=str(self.path), reason=str(error))
            self._failing = True
            return False
        if self._failing:
            log.info("the audit log is written again", file=str(self.path))
        self._failing = False
        return True

    def _done(self, batch: list[bytes], *, written: bool) -> None:
        if not written:
            # In front of what came meanwhile. A line of which a part was written appears again, whole, below that part.
            self._waiting.extendleft(reversed(batch))
            self._woken.set()


class AuditedAuthority:
    """An `Authority` whose every certificate is in the audit log: whoever asked for it, by whatever way."""

    def __init__(self, authority: Authority, audit: AuditLog) -> None:
        self._authority = authority
        self._audit = audit

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        issued = await self._authority.issue(request)
        self._audit.record(
            "certificate issued",
            identity=issued.identity.uri,
            workload=str(issued.workload or ""),
            serial=f"{issued.serial:x}",
            not_after=issued.not_after.isoformat(),
        )
        return issued

    def roots(self) -> TrustBundle:
        return self._authority.roots()


def _short(value: Value) -> Value:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    if isinstance(value, list):
        return [each[:LONGEST] for each in value]
    return value
