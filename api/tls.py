"""TLS of the API: contexts for its server that follow the renewal of certificates, so that new connections always see the newest."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the server shows, and whose client certificates it takes. `generation` differs where anything else does. PEM."""

    generation: Hashable
    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


def context(newest: Callable[[], Shown]) -> ssl.SSLContext:
    """Asks `newest` at each handshake. What cannot be used is logged, and leaves what was shown before. ssl.SSLError if there is none before.

    A client may show a certificate, and one that it shows must be of our roots.
    """
    following = _Following(newest)
    first = following.now
    # Called at every handshake, whether the client names a server or not.
    first.sni_callback = following.switch
    return first


class _Following:
    def __init__(self, newest: Callable[[], Shown]) -> None:
        self._newest = newest
        shown = newest()
        self._generation = shown.generation
        self.now = _context(shown)

    def switch(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Never raises: the handshake would fail without a word."""
        try:
            shown = self._newest()
            if shown.generation != self._generation:
                self.now = _context(shown)
                self._generation = shown.generation
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            log.warning("the new certificate of the API cannot be used: the old one stays", reason=str(error))
        connection.context = self.now


def _context(shown: Shown) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = ssl.CERT_OPTIONAL
    # Each client proves itself anew: a ticket would outlive the roots that vouched for it.
    made.options |= ssl.OP_NO_TICKET
    made.num_tickets = 0
    made.load_verify_locations(cadata=shown.roots.decode())
    with _file(shown.key) as key, _file(shown.chain) as chain:
        made.load_cert_chain(chain, key)
    return made


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """The path of `content` in memory: OpenSSL reads keys from files, and none of ours is to be on a disk."""
    descriptor = os.memfd_create("meshwright", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class FromFiles:
    """A certificate and its key from files of the user's, read again when they change. OSError."""

    certificate: Path
    key: Path
    roots: Callable[[], bytes]

    def __call__(self) -> Shown:
        roots = self.roots()
        changed = tuple(path.stat().st_mtime_ns for path in (self.certificate, self.key))
        return Shown((*changed, roots), self.key.read_bytes(), self.certificate.read_bytes(), roots)
