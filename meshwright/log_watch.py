"""Proxies that report what they handle because somebody reads their log: for as long as it is asked for, and a little longer.

Their runtime switches it on (`envoy/reported.py`): no listener changes, and nothing drains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.names import Key

LEASE = 15.0
"""Seconds that a proxy goes on after it was asked for last."""
MOST = 50
"""Proxies at a time: each sends an entry for every request that it handles."""


class LogWatch:
    """For the event loop alone. `report` is given all of them whenever they change."""

    def __init__(
        self, report: Callable[[frozenset[Key]], None], lease: float = LEASE, most: int = MOST
    ) -> None:
        self._report, self._lease, self._most = report, lease, most
        self._ends: dict[Key, asyncio.TimerHandle] = {}

    def want(self, proxy: Key) -> bool:
        """From now on for a lease; whether it reports. False if too many do already."""
        before = self._ends.get(proxy)
        if before is None and len(self._ends) >= self._most:
            return False
        if before is not None:
            before.cancel()
        self._ends[proxy] = asyncio.get_running_loop().call_later(self._lease, self._end, proxy)
        if before is None:
            self._tell()
        return True

    def close(self) -> None:
        for each in self._ends.values():
            each.cancel()
        self._ends.clear()

    def _end(self, proxy: Key) -> None:
        del self._ends[proxy]
        self._tell()

    def _tell(self) -> None:
        self._report(frozenset(self._ends))
