"""What requests may hold at once: streams, each a connection and its buffers for as long as its reader likes, and bodies, in bytes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from api.errors import TooManyRequests
from api.roles import Caller

IN_ALL: Final = 500
OF_ONE: Final = 50
BODIES: Final = 128 << 20
"""Bytes of bodies that are worked on at once."""
BODIES_OF_ONE: Final = 40 << 20
"""Of them, for one caller: one body of the largest that any route takes, and small ones beside it."""


@dataclass(slots=True)
class Streams:
    """Counts those that are open, by caller."""

    in_all: int = IN_ALL
    of_one: int = OF_ONE
    open: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def one_more(self, caller: Caller) -> Iterator[None]:
        """TooManyRequests if there are as many as may be."""
        who = f"{caller.way} {caller.name}"
        if self.open[who] >= self.of_one or self.open.total() >= self.in_all:
            raise TooManyRequests(
                f"{caller.name} has {self.open[who]} streams open, of {self.open.total()} in all: end one first",
                10,
            )
        self.open[who] += 1
        try:
            yield
        finally:
            self.open[who] -= 1
            if not self.open[who]:
                del self.open[who]


@dataclass(slots=True)
class Room:
    """For bodies: what one may be is bounded by its route, and those of one caller and all together by this."""

    size: int = BODIES
    of_one: int = BODIES_OF_ONE
    used: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def taken(self, caller: Caller, size: int) -> Iterator[None]:
        """TooManyRequests if there is no room for `size` bytes of `caller` now."""
        if not size:  # Most requests: nobody waits for room that they do not use.
            yield
            return
        who = f"{caller.way} {caller.name}"
        if self.used[who] + size > self.of_one:
            raise TooManyRequests(
                f"as much of {caller.name} is read at once as may be: let one request end first", 1
            )
        if self.used.total() + size > self.size:
            raise TooManyRequests("as much is read at once as may be: try again in a second", 1)
        self.used[who] += size
        try:
            yield
        finally:
            self.used[who] -= size
            if not self.used[who]:
                del self.used[who]
