"""What a session knows of one type: what the client wants, what it holds, and what it has to be told.

The one slot of invariant 10: `dirty` names what may differ between what the client holds and what it should hold; what is sent is the
difference at the time of sending. What it holds is `base`, references to the cache's own maps, except for the names in `overlay`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from xds.cache import Chunk, Maps, Subscription, lookup

ABSENT = ""
"""The held version of a name that the client does not have."""
UNKNOWN = "?"
"""That of a name of which we cannot tell: it was asked for anew, or a response with it was refused."""
SHOWN = 8
"""How many names a status lists."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: `names` are the resources it blames, or all of the response's when it blames none of them. `at` is of the caller's clock."""

    version: str
    nonce: str
    names: tuple[str, ...]
    message: str
    at: float
    origin: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response that is neither acknowledged nor refused yet."""

    nonce: str
    version: str
    names: tuple[str, ...]
    removed: tuple[str, ...]
    sent_at: float


@dataclass(slots=True, eq=False)
class TypeState:
    """`queue` and `sent` hold chunks that clients share, until all of them were acknowledged: see `abandon`."""

    type_url: str
    subscription: Subscription
    base: Maps = ()
    overlay: dict[str, str] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    # Subscribed to, but not looked up yet: that waits until the scopes are ready.
    unplanned: Subscription | None = None
    claimed: dict[str, str] | None = None
    claimed_version: str = ""
    queue: deque[tuple[Maps, Chunk]] = field(default_factory=deque)
    sent: list[tuple[Maps, Chunk]] = field(default_factory=list)
    in_flight: InFlight | None = None
    nonces: int = 0
    version: str = ""
    acknowledged_version: str = ""
    quarantine: dict[str, str] = field(default_factory=dict)
    splits: list[tuple[str, ...]] = field(default_factory=list)
    refusal: Refusal | None = None
    responses: int = 0
    acknowledged: int = 0

    @property
    def idle(self) -> bool:
        """Nothing is on its way and nothing is left to be sent, except what is held back."""
        return self.in_flight is None and not self.queue and self.unplanned is None and not self.dirty

    def held(self, name: str) -> str:
        """The version of `name` that the client holds: ABSENT, UNKNOWN, or a version."""
        known = self.overlay.get(name)
        if known is not None:
            return known
        found = lookup(self.base, name)
        return found.version if found is not None else ABSENT

    def mark(self, names: Iterable[str]) -> None:
        self.abandon()
        self.dirty.update(names)

    def ask_again(self, names: Iterable[str]) -> None:
        """The client wants `names` whatever it held of them."""
        for name in names:
            self.overlay[name] = UNKNOWN
            self.dirty.add(name)

    def abandon(self) -> None:
        """Something changed while shared chunks were on their way: go on name by name."""
        for maps, chunk in self.sent:
            for name in chunk.names:
                found = lookup(maps, name)
                if found is not None:
                    self.overlay[name] = found.version
        for _, chunk in self.queue:
            self.ask_again(chunk.names)
        self.sent.clear()
        self.queue.clear()

    def settle(self, current: Maps) -> None:
        """All that the client wants of `current` it has: hold a reference to that, and forget the differences."""
        if self.idle:
            self.base = current
            self.sent.clear()
            self.overlay = {name: self.overlay.get(name, ABSENT) for name in self.quarantine}
            self.splits.clear()

    def next_nonce(self) -> str:
        """Nonces count from 1 in each stream and type, so that equal responses of different streams are equal bytes."""
        self.nonces += 1
        return str(self.nonces)

    def pending(self) -> tuple[str, ...]:
        """Some of the names that are on their way or waiting to be sent."""
        names: list[str] = list(self.in_flight.names[:SHOWN]) if self.in_flight else []
        for _, chunk in self.queue:
            names.extend(chunk.names[: SHOWN - len(names)])
        names.extend(name for name, _ in zip(sorted(self.dirty), range(SHOWN - len(names)), strict=False))
        return tuple(dict.fromkeys(names))
