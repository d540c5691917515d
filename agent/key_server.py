"""The secrets of the workload's own traffic, served to the Envoy beside: SDS on a Unix socket. The private key never leaves the host.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/security/secret

The protocol, delta and the state of the world, is that of `xds`, as the control plane serves it. Who may connect is
a matter of the file system: the socket is its owner's alone, in a directory that is its owner's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn, Self
from urllib.parse import quote

import grpc
import grpc.aio
from structlog.typing import FilteringBoundLogger

from agent import sockets
from agent.identity_store import StoredIdentity
from ca import files
from ca.authority import TrustBundle
from ca.rate_limit import Monotonic
from ca.secrets import IDENTITY, ROOTS, identity_secret, roots_secret
from mesh.names import Key
from pb.envoy.config.core.v3.base_pb2 import Node
from xds.cache import ResourceCache, ScopeChange
from xds.client import Client, Peer
from xds.errors import Refused
from xds.resource import encode
from xds.server import NullObserver, XdsServer, XdsSettings, server_options
from xds.state import Refusal
from xds.types import SECRET

AWAY: Final = 10.0
"""Seconds after which an Envoy that was here and asks no more counts as gone. One that lost its connection comes back sooner
(`envoy.packing.from_keys`)."""
LOOK: Final = 1.0
"""Seconds between looks at the socket's file: nothing tells that it was removed."""
SCOPE: Final = "keys"


class KeyServer:
    """Serves what it was given last by `give`, to any number of Envoys of `workload`. Use it from one event loop."""

    def __init__(
        self,
        path: Path,
        workload: Key,
        *,
        log: FilteringBoundLogger,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        """`path`: of the socket; see `agent.sockets`."""
        self._path = path
        self._workload = workload
        self._log = log
        self._monotonic = monotonic
        self._cache = ResourceCache()
        self._cache.open()
        self._moved = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._versions: dict[str, str] = {}
        self._left = monotonic()
        notes = _Notes(log, acknowledged=self._moved.set, closed=self._note_closed)
        self._xds = XdsServer(self._cache, self._identify, XdsSettings(), notes, clock=monotonic)

    def give(self, held: StoredIdentity) -> None:
        """Serve `held` from now on; who follows already is told at once of what is new in it."""
        origin = ("the agent's identity",)
        made = (
            encode(SECRET, IDENTITY, identity_secret(held.chain_pem, held.key_pem), origin),
            encode(SECRET, ROOTS, roots_secret(_bundle(held), held.federated, held.aliases), origin),
        )
        self._versions = {each.name: each.version for each in made}
        self._cache.publish([ScopeChange(SCOPE, put=made)])

    async def in_use(self) -> None:
        """Return once every Envoy has taken what is served now; when none has asked for `AWAY` seconds, there is none."""
        while left := self._not_taken():
            self._moved.clear()
            self._log.debug("envoy has not taken its keys yet", names=left)
            with contextlib.suppress(TimeoutError):  # time itself may have moved it
                await asyncio.wait_for(self._moved.wait(), LOOK)

    async def __aenter__(self) -> Self:
        """Listen. OSError if that cannot be."""
        self._server = await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all connections, and remove the socket."""
        if self._server is not None:
            await self._server.stop(None)

    async def watch(self) -> NoReturn:
        """Listen anew whenever the socket's file is gone, until cancelled."""
        here = await asyncio.to_thread(_inode, self._path)
        while True:
            await asyncio.sleep(LOOK)
            if here is not None and await asyncio.to_thread(_inode, self._path) == here:
                continue
            self._log.warning("the socket of the keys is gone, and is made anew", socket=str(self._path))
            here = None
            if self._server is not None:
                await self._server.stop(None)  # first: its end removes whatever has its name
                self._server = None
            try:
                self._server = await self._listen()
                here = await asyncio.to_thread(_inode, self._path)
            except OSError as error:
                self._log.error("the keys cannot be served now, and it is tried again", reason=str(error))

    async def _listen(self) -> grpc.aio.Server:
        await asyncio.to_thread(sockets.own, self._path.parent)
        server = grpc.aio.server(options=server_options(self._xds.settings))
        self._xds.add_to(server, only=SECRET)
        try:
            server.add_insecure_port(f"unix:{quote(str(self._path))}")
        except RuntimeError as error:
            raise OSError(f"the agent cannot listen on {self._path}: {error}") from error
        await server.start()
        await asyncio.to_thread(self._path.chmod, files.PRIVATE)
        return server

    async def _identify(self, node: Node, peer: Peer) -> Client:
        del peer  # somebody of this user, for nobody else can connect
        if node.id != str(self._workload):
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"this is the agent of {self._workload}, not of {node.id[:300]!r}",
            )
        return Client(str(self._workload), (SCOPE,))

    def _note_closed(self) -> None:
        self._left = self._monotonic()
        self._moved.set()

    def _not_taken(self) -> list[str]:
        """The secrets that somebody has not acknowledged as they are now, or, until everybody counts as gone, nobody asks for."""
        gone = self._monotonic() - self._left >= AWAY
        found: list[str] = []
        for name, version in self._versions.items():
            asking = [each.session for each in self._xds.streams() if each.session.subscribes(SECRET, name)]
            if any(each.acknowledged(SECRET, name) != version for each in asking) or not (asking or gone):
                found.append(name)
        return found


class _Notes(NullObserver):
    """Tells the log what is out of the ordinary; never what a secret holds."""

    def __init__(
        self, log: FilteringBoundLogger, *, acknowledged: Callable[[], None], closed: Callable[[], None]
    ) -> None:
        self._log = log
        self._acknowledged = acknowledged
        self._closed = closed

    def closed(self, client: str, protocol: str) -> None:
        del client, protocol
        self._closed()

    def acknowledged(self, client: str, type_url: str) -> None:
        del client, type_url
        self._acknowledged()

    def refused(self, peer: str, node: str, status: grpc.StatusCode, reason: str) -> None:
        del peer, node
        self._log.warning("keys refused", status=status.name, reason=reason)

    def withheld(self, client: str, type_url: str, names: tuple[str, ...]) -> None:
        del client, type_url
        self._log.warning("a proxy asks its agent for secrets that are none of its keys", names=names[:10])

    def rejected(self, client: str, type_url: str, refusal: Refusal) -> None:
        del client, type_url
        self._log.error("envoy refused its keys", names=refusal.names, message=refusal.message[:300])


def _bundle(held: StoredIdentity) -> TrustBundle:
    return TrustBundle(held.identity.trust_domain, (held.roots_pem,))


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
