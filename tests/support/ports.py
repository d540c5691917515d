"""Ports that nobody else takes between being chosen and being listened on.

A port that the kernel calls free may be the local end of somebody's next connection a moment later. These are below the range
that connections get theirs from, in blocks of which each is claimed by one test process of the machine.
"""

from __future__ import annotations

import functools
import itertools
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST, BLOCK = 16384, 256
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """A block of ports, claimed by listening on its first until `close`."""

    def __init__(self, chance: random.Random | None = None) -> None:
        last = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32768
        bases = list(range(FIRST, last - BLOCK, BLOCK))
        (chance or random.Random()).shuffle(bases)
        for base in bases:
            claimed = _listening(base)
            if claimed is not None:
                self._claim = claimed
                self._next = itertools.cycle(range(base + 1, base + BLOCK))
                return
        raise RuntimeError(f"no block of ports between {FIRST} and {last} is free: what else listens there?")

    def take(self) -> int:
        """A port of the block that nobody listens on; the same again only after all others."""
        for port in itertools.islice(self._next, BLOCK):
            tried = _listening(port)
            if tried is not None:
                tried.close()
                if _free_for_datagrams(port):
                    return port
        raise RuntimeError(f"{BLOCK} ports are in use at once: make the block larger")

    def close(self) -> None:
        self._claim.close()


@functools.cache
def _own() -> Ports:
    """The block of this process, until it ends."""
    return Ports()


def free_port() -> int:
    """A port of loopback for a server that is about to start; free for TCP and UDP."""
    return _own().take()


def free_ports(count: int) -> list[int]:
    """So many, no two the same."""
    return [free_port() for _ in range(count)]


def _free_for_datagrams(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _listening(port: int) -> socket.socket | None:
    """None if the port is taken."""
    tried = socket.socket()
    # As Envoy does: what remains of old connections is in nobody's way.
    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        tried.bind((LOOPBACK, port))
        tried.listen(1)
    except OSError:
        tried.close()
        return None
    return tried
