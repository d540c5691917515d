"""Where the API listens: the socket of whoever owns the data directory, and TCP."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import Final

from aiohttp import web

GRACE: Final = 1.0
"""Seconds that open requests get at the end."""

IDLE: Final = 75.0
"""Seconds that a connection is kept for the next request."""
LONGEST: Final = 64 * 1024
"""Bytes of the path with its query, and of one header: selectors and reasons may be long, and grow when they are quoted."""


class ApiServer:
    """One application on several doors. OSError where a door cannot be opened."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=GRACE,
            keepalive_timeout=IDLE,
            max_line_size=LONGEST,
            max_field_size=LONGEST,
        )
        self._socket: Path | None = None

    async def start(self) -> None:
        await self._runner.setup()

    async def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """The port, which is a free one if `port` is 0."""
        site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        await site.start()
        taken: int = self._runner.addresses[-1][1]
        return taken

    async def listen_unix(self, path: Path) -> None:
        """A socket that its owner alone may use. The directory is 0700, so nobody can get at it between its making and the chmod."""
        _remove(path)
        await web.UnixSite(self._runner, str(path)).start()
        self._socket = path
        _own(path)

    async def stop(self) -> None:
        await self._runner.cleanup()
        if self._socket is not None:
            _remove(self._socket)


def _own(path: Path) -> None:
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def _remove(path: Path) -> None:
    """One that a killed control plane left behind would be in the way."""
    if path.is_socket():
        path.unlink()
