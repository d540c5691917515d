"""The workload that somebody probably meant by a name that no source declares: within bounds, for it is reckoned on the event loop."""

from __future__ import annotations

import difflib
from bisect import bisect
from collections.abc import Iterable
from typing import Final

from mesh.names import Key

MOST: Final = 20
"""Names for which it is found out, of however many."""
AROUND: Final = 25
"""Names that one is compared with on either side of where it would stand among those of its namespace: each costs some 0.02 ms."""


class Nearest:
    """For one report of the `workloads` as they are. They are looked through when the first name is asked for."""

    def __init__(self, workloads: Iterable[Key]) -> None:
        self._workloads = workloads
        self._names: dict[str, list[str]] | None = None
        self._left = MOST

    def to(self, key: Key) -> Key | None:
        """The most similar one of the same namespace; None if there is none, or if too many were asked for."""
        if not self._left:
            return None
        self._left -= 1
        if self._names is None:
            self._names = {}
            for each in sorted(self._workloads):
                self._names.setdefault(each.namespace, []).append(each.name)
        names = self._names.get(key.namespace, [])
        place = bisect(names, key.name)
        near = difflib.get_close_matches(key.name, names[max(0, place - AROUND) : place + AROUND], n=1)
        return Key(key.namespace, near[0]) if near else None
