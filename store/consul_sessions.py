"""What ends by itself in Consul: locks, and values with a time to live. Both are keys that a session holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from store.consul_http import Away, ConsulHttp
from store.errors import StoreError

T = TypeVar("T")
TTL = 15.0
"""Seconds after which the lock of a replica that is gone is free, or up to twice as long; a replica that cannot renew it for so
long takes it for lost."""
DELAY = 1.0
"""Seconds for which Consul gives nobody a lock whose session was ended (`LockDelay`)."""
WAIT = 30.0


class Patiently(Protocol):
    """Asks again while there is no answer."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T: ...


class ConsulLock:
    def __init__(self) -> None:
        self._lost = asyncio.Event()

    async def lost(self) -> None:
        await self._lost.wait()

    def lose(self) -> None:
        self._lost.set()


@contextlib.asynccontextmanager
async def held(
    http: ConsulHttp, key: str, patiently: Patiently, monotonic: Callable[[], float]
) -> AsyncIterator[ConsulLock]:
    """Wait for the lock `key`, and hold it within the block."""
    began = monotonic()
    session = await patiently(
        lambda: http.open_session(f"meshwright {key}", TTL, behavior="release", delay=DELAY)
    )
    lock = ConsulLock()
    renewing = asyncio.create_task(_renew(http, session, lock, began, monotonic), name=f"lock {key}")
    try:
        await _acquire(http, key, session, patiently)
        yield lock
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        # Without an answer, the session ends by itself.
        with contextlib.suppress(Away, StoreError):
            await http.release(key, session)
            await http.end_session(session)


async def _acquire(http: ConsulHttp, key: str, session: str, patiently: Patiently) -> None:
    index = 0
    while not await patiently(lambda: http.put(key, b"", acquire=session)):
        pair, index = await patiently(partial(http.poll, key, index, WAIT))
        if pair is None or pair.Session is None:
            await asyncio.sleep(DELAY / 4)  # Free, and perhaps not yet to be had.
            index = 0


async def _renew(
    http: ConsulHttp, session: str, lock: ConsulLock, renewed: float, monotonic: Callable[[], float]
) -> None:
    """Keep the session alive; say when it is no more."""
    while monotonic() - renewed < TTL:
        await asyncio.sleep(TTL / 5)
        asked = monotonic()
        try:
            async with asyncio.timeout(TTL / 3):
                if not await http.renew(session):
                    break
                renewed = asked
        except (Away, StoreError, TimeoutError):
            continue  # Until it is too long ago.
    lock.lose()


@dataclass(slots=True)
class _Kept:
    session: str
    ttl: float
    renewed: float


class Published:
    """Values that go when they are not published again: each is held by a session of its own that deletes its key when it ends."""

    def __init__(self, http: ConsulHttp, prefix: str, monotonic: Callable[[], float]) -> None:
        self._http = http
        self._prefix = prefix
        self._monotonic = monotonic
        self._kept: dict[str, _Kept] = {}

    async def publish(self, key: str, value: bytes, ttl: float | None) -> None:
        if ttl is None:
            await self._http.put(self._prefix + key, value)
            return
        kept = await self._session(key, ttl)
        if await self._http.put(self._prefix + key, value, acquire=kept.session):
            return
        # Held by the session of a process that had the key before us.
        holder = await self._http.read(self._prefix + key)
        if holder is not None and holder.Session is not None and holder.Session != kept.session:
            await self._http.end_session(holder.Session)
        if not await self._http.put(self._prefix + key, value, acquire=kept.session):
            raise Away(f"the key {self._prefix}{key} is held by somebody else", sent=False)

    async def _session(self, key: str, ttl: float) -> _Kept:
        kept, now = self._kept.get(key), self._monotonic()
        if kept is not None and kept.ttl == ttl:
            if now - kept.renewed < ttl / 3:
                return kept
            if await self._http.renew(kept.session):
                kept.renewed = now
                return kept
        session = await self._http.open_session(
            f"meshwright {self._prefix}{key}", ttl, behavior="delete", delay=0
        )
        self._kept[key] = kept = _Kept(session, ttl, now)
        return kept

    async def read(self, prefix: str) -> dict[str, bytes]:
        pairs = await self._http.tree(self._prefix + prefix)
        return {pair.Key.removeprefix(self._prefix): pair.value for pair in pairs}

    async def withdraw(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        await self._http.delete(self._prefix + key)
        if kept is not None:
            await self._http.end_session(kept.session)

    async def close(self) -> None:
        """What has a time to live goes at once. Without an answer it goes by itself."""
        for kept in self._kept.values():
            with contextlib.suppress(Away, StoreError):
                await self._http.end_session(kept.session)
        self._kept.clear()
