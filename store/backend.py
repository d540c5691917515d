"""What a store must be able to do, in bytes. It knows nothing of documents: `store.repository` does.

Blobs are named by the hash of their content, so they are never changed, and writing one twice is harmless. The one thing
that changes is the head. A commit writes its blobs first and then sets the head by one compare-and-set, which makes a batch of
any size atomic: blobs without a revision that leads to them are garbage, which `sweep` removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Head:
    """Where the store is: the newest revision, and the oldest that is kept (both 0 for an empty store).

    `oldest` is part of it so that dropping history and writing can never pass each other unnoticed.
    """

    number: int
    id: str
    oldest: int


NOTHING = Head(0, "", 0)


class Lock(Protocol):
    """Held until its block ends, or until `lost()` returns: whoever holds it must stop then."""

    async def lost(self) -> None:
        """Return when the lock is ours no more, with the store away for too long. Waits for ever otherwise."""
        ...


class Backend(Protocol):
    """All methods raise StoreError (see store.errors), and none blocks the event loop."""

    @property
    def where(self) -> str:
        """For people: `sqlite:/var/lib/meshwright/store.db`, `consul:http://127.0.0.1:8500/meshwright`. Without secrets."""
        ...

    async def put(self, blobs: Mapping[str, bytes]) -> None:
        """Keep blobs by their names. One that is there already counts as written now (see `sweep`)."""
        ...

    async def get(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those of the blobs that are there."""
        ...

    async def head(self) -> Head:
        """The head as the last acknowledged write left it, never an older one."""
        ...

    async def compare_and_set_head(self, expected: Head, new: Head, ids: Mapping[int, str]) -> bool:
        """Make `new` the head if it is `expected` now, and remember `ids` of the revisions that come with it (number → id), at once.

        False if the head is another one. Raises OutcomeUnknown if that cannot be found out; any other error means that
        nothing was changed.
        """
        ...

    async def ids(self, numbers: Iterable[int]) -> dict[int, str]:
        """The ids of those of the revisions that are known."""
        ...

    def heads(self, after: Head) -> AsyncGenerator[Head, None]:
        """The head whenever it is another one than that told last, at first than `after`. Some between may be left out."""
        ...

    def lock(self, name: str) -> contextlib.AbstractAsyncContextManager[Lock]:
        """Wait for the lock `name`, which one holder has over all replicas, and hold it within the block."""
        ...

    async def publish(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep a small value (100 KiB at most) that is no document. It goes `ttl` seconds after it was published last, give or take as
        much again; never with None. One replica owns a key.
        """
        ...

    async def published(self, prefix: str) -> dict[str, bytes]:
        """All such values whose keys begin with `prefix`, by key."""
        ...

    async def withdraw(self, key: str) -> None:
        """Remove such a value, if it is there."""
        ...

    async def sweep(self, keep: AbstractSet[str], older: float) -> int:
        """Remove each blob that is not in `keep` and that nobody has put in the last `older` seconds. How many."""
        ...

    async def forget(self, below: int) -> None:
        """Forget the ids of revisions with smaller numbers."""
        ...

    async def close(self) -> None: ...
