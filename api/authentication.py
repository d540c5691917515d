"""Who sends a request: whoever owns the data directory, by its socket; the bearer of an API token; the holder of a client certificate."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from aiohttp import web

from api.errors import Forbidden, Unauthenticated
from api.roles import Caller, Grant, Role, Way

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Authentication:
    async def caller(self, request: web.Request, *, public: bool) -> Caller:
        """Unauthenticated or Forbidden, unless the route is `public`."""
        local = _local(request)
        if local is not None:
            return local
        if public:
            return Caller("anonymous", Way.NOTHING, request.remote or "")
        raise Unauthenticated("no credentials: send `Authorization: Bearer <API token>`")


def _local(request: web.Request) -> Caller | None:
    """The user at the other end of the Unix socket; None if it is not one. Forbidden to others than root and its owner."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    uid = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )[1]
    if uid not in {0, os.getuid()}:
        raise Forbidden(
            f"user {uid} is not the one who runs the control plane: use an API token over TCP instead"
        )
    return Caller(f"uid:{uid}", Way.SOCKET, "unix", (Grant(Role.ADMIN),))
