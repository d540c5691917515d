"""A map in bounded memory, of what was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Of more than `most` keys, the one that was not used for the longest is forgotten. Each operation is O(1)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()  # the most recent stands last

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Without using it."""
        return self._values.get(key)

    def use(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, which `make` makes if there is none."""
        found = self._values.get(key)
        if found is None:
            found = make()
        self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """In place of what was there."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
