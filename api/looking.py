"""What is told of logs, as the routes ask the program for it."""

from __future__ import annotations

from typing import Protocol

from api.shapes.logs import AccessPage, ControlPlaneLogsQuery, LogPage, ProxyLogsQuery, Top, TopQuery
from mesh.names import Key


class Logs(Protocol):
    """Nothing of it waits."""

    def control_plane(self, query: ControlPlaneLogsQuery) -> LogPage: ...

    def proxy(self, proxy: Key, query: ProxyLogsQuery) -> AccessPage:
        """NotFound if there is no such proxy."""
        ...

    def top(self, query: TopQuery) -> Top: ...
