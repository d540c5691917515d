"""How many streams are open: each holds a connection and its buffers for as long as its reader likes."""

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
