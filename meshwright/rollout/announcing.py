"""What a write was asked to go out by, told to all control planes over the same store: it is there before the write is."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import structlog

from meshwright.rollout.record import Asked, Kept, decode, encode
from store.backend import Backend
from store.errors import StoreError

PREFIX: Final = "staged/"
LARGEST: Final = 100 << 10
"""Bytes that a store publishes."""
RETRY: Final = 1.0
"""Seconds until a store that cannot tell is asked again."""

log = structlog.get_logger(__name__)


class Announcements:
    """`backend`: the store, where others may be over it; None: nobody else is there. `life`: seconds for which it is told."""

    def __init__(self, backend: Backend | None, life: float) -> None:
        self._backend = backend
        self._life = life
        self._known: set[str] = set()

    async def tell(self, asked: Asked) -> str:
        """Its key. ValueError if it is too large to be told; StoreError."""
        if self._backend is None:
            return ""
        content = encode(Kept(asked=(asked,)))
        if len(content) > LARGEST:
            raise ValueError(
                f"{len(asked.names)} documents are too many for one staged write over a shared store:"
                " write them in parts, or let a RolloutPolicy stage them"
            )
        key = PREFIX + hashlib.blake2b(content, digest_size=8).hexdigest()
        self._known.add(key)
        await self._backend.publish(key, content, self._life)
        return key

    async def take_back(self, key: str) -> None:
        """Nothing was written. It goes by itself if the store cannot be told."""
        if self._backend is None or not key:
            return
        try:
            await self._backend.withdraw(key)
        except StoreError as error:
            log.warning(
                "other control planes may stage the next write of the same documents", reason=str(error)
            )

    async def heard(self) -> tuple[Asked, ...]:
        """What others told since this was asked last. Waits for the store: without its word, a change would reach everybody at once."""
        if self._backend is None:
            return ()
        said = await self._published(self._backend)
        new = {key: value for key, value in said.items() if key not in self._known}
        self._known = {*said}
        found: list[Asked] = []
        for key, value in new.items():
            try:
                found += decode(value).asked
            except ValueError as error:
                log.warning("how a write is to go out cannot be read", key=key, reason=str(error))
        return tuple(found)

    async def _published(self, backend: Backend) -> dict[str, bytes]:
        while True:
            try:
                return await backend.published(PREFIX)
            except StoreError as error:
                log.warning("a revision waits until it is known how it is to go out", reason=str(error))
                await asyncio.sleep(RETRY)
