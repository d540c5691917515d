"""Reading of blobs: checked, decoded off the event loop where it is much, and kept for a while.

A blob never changes, so what was read once stays true; the caches are bounded by number.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from store.backend import Backend
from store.codec import decode_revision, decode_stored, verify
from store.errors import StoreCorrupt
from store.manifest import Missing, Node, Nodes, decode_node, walk
from store.revision import Revision
from store.stored import Stored

T = TypeVar("T")
FEW = 8
"""So many blobs are decoded at once on the event loop: some 0.1 ms each at most, unless they are large."""
SMALL = 16 * 1024
NODES = 2048
REVISIONS = 1024
AT_ONCE = 2000
"""Blobs that are asked for in one go: bounds what is in memory twice."""


class Blobs:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._nodes: _Recent[Node] = _Recent(NODES)
        self._revisions: _Recent[Revision] = _Recent(REVISIONS)

    async def resolve(self, work: Callable[[Nodes], T], size: int = FEW + 1) -> T:
        """What `work` gives, once it has all the nodes that it wants. It is called several times.

        `size` is how many documents it is about, where that is known: it leaves the event loop unless they are few.
        """
        own: dict[str, Node] = {}

        def nodes(name: str) -> Node | None:
            return own.get(name) or self._nodes.get(name)

        while True:
            try:
                return await _computed(lambda: work(nodes), size)
            except Missing as lacking:
                read = await self._read(lacking.names, decode_node)
                own.update(read)
                for name, node in read.items():
                    self._nodes.put(name, node)

    async def beyond(self, root: str, known: AbstractSet[str]) -> list[tuple[str, Node]]:
        """The nodes from `root` on that are not `known`, with their names, each before those below it."""

        def work(nodes: Nodes) -> list[tuple[str, Node]]:
            return list(walk(nodes, root, lambda name: name not in known))

        return await self.resolve(work)

    async def stored(self, names: Iterable[str]) -> dict[str, Stored]:
        """The documents that are in these blobs. StoreCorrupt if one is not there."""
        return await self._read(set(names), decode_stored)

    async def revisions(self, ids: Iterable[str]) -> tuple[Revision, ...]:
        """In that order. StoreCorrupt if one is not there."""
        wanted = tuple(ids)
        held = {ident: found for ident in wanted if (found := self._revisions.get(ident)) is not None}
        read = await self._read([ident for ident in wanted if ident not in held], decode_revision)
        for revision in read.values():
            self.remember(revision)
        return tuple({**held, **read}[ident] for ident in wanted)

    def remember(self, revision: Revision) -> None:
        self._revisions.put(revision.id, revision)

    async def raw(self, names: Iterable[str]) -> dict[str, bytes]:
        """The blobs as they are, checked. StoreCorrupt if one is not there."""
        return await self._read(set(names), lambda _, blob: blob)

    async def _read(self, names: Iterable[str], decode: Callable[[str, bytes], T]) -> dict[str, T]:
        wanted, found = list(names), dict[str, T]()
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            blobs = await self._backend.get(some)
            if lacking := next((name for name in some if name not in blobs), None):
                raise StoreCorrupt(
                    f"{self._backend.where} lacks blob {lacking}, which a revision names. Restore the store from a backup"
                )
            large = len(blobs) if sum(map(len, blobs.values())) <= FEW * SMALL else FEW + 1
            found.update(await _computed(lambda blobs=blobs: _decoded(blobs, decode), large))  # type: ignore[misc]
        return found


def _decoded(blobs: Mapping[str, bytes], decode: Callable[[str, bytes], T]) -> dict[str, T]:
    decoded: dict[str, T] = {}
    for name, blob in blobs.items():
        verify(name, blob)
        decoded[name] = decode(name, blob)
    return decoded


async def _computed(work: Callable[[], T], size: int) -> T:
    """On the event loop where it is little, beside it where it may be more."""
    return work() if size <= FEW else await asyncio.to_thread(work)


class _Recent(Generic[T]):
    """The values that were used last. Any thread may use it: walks of many documents leave the event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> T | None:
        with self._lock:
            value = self._values.get(name)
            if value is not None:
                self._values.move_to_end(name)
            return value

    def put(self, name: str, value: T) -> None:
        with self._lock:
            self._values[name] = value
            self._values.move_to_end(name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
