"""The cache of what was read is used by the event loop and by threads beside it."""

from __future__ import annotations

import threading
from collections import OrderedDict

from store.blobs import _Recent


class _Interrupted(OrderedDict[str, int]):
    """Another thread puts something just before what was found is moved to the end: it evicts it, unless it is kept out."""

    other: threading.Thread | None = None

    def move_to_end(self, key: str, last: bool = True) -> None:
        if self.other is not None and not self.other.ident:
            self.other.start()
            self.other.join(0.2)
        super().move_to_end(key, last)


def test_what_another_thread_would_evict_meanwhile_is_given_all_the_same() -> None:
    recent: _Recent[int] = _Recent(1)
    values = recent._values = _Interrupted()
    recent.put("old", 1)
    values.other = threading.Thread(target=recent.put, args=("new", 2))
    assert recent.get("old") == 1
    values.other.join(30)
    assert (recent.get("old"), recent.get("new")) == (None, 2)
