"""What the mesh was told of something that changes piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar


class Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...  # as `sorted` asks of what it sorts


K = TypeVar("K", bound=Ordered)
V = TypeVar("V")


def difference(
    told: dict[K, V], dirty: Collection[K], now: Callable[[K], V | None]
) -> tuple[tuple[V, ...], tuple[K, ...]]:
    """Bring `told` up to date for what is `dirty`; in the order of keys, the values that are new or others than before, and the keys that have gone.

    `now` gives the value of a key, None if there is none. It is asked once for each, in order.
    """
    put: list[V] = []
    removed: list[K] = []
    for key in sorted(dirty):
        value = now(key)
        if value is None:
            if told.pop(key, None) is not None:
                removed.append(key)
        elif told.get(key) != value:
            told[key] = value
            put.append(value)
    return tuple(put), tuple(removed)
