"""What a session knows of one type: what the client wants, what it holds, and what it has to be told.

The one slot of invariant 10: `dirty` names what may differ between what the client holds and what it should hold; what is sent is the
difference at the time of sending. What it holds is `base`, references to the cache's own maps, except for the names in `overlay`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from xds.cache import Chunk, Maps, Subscription, lookup
from xds.resource import Resource
from xds.wire import Mark

ABSENT = ""
"""The held version of a name that the client does not have."""
UNKNOWN = "?"
"""That of a name of which we cannot tell: see `Doubt`."""
SHOWN = 8
"""How many names a status lists."""

Known = Resource | str
"""What a client holds under a name: a resource, a version that it told us of, or ABSENT."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A name that the client asked for anew, or that stood in a refused response: it is sent again whatever the client holds.

    `before` is what it certainly held before, and perhaps still holds; None: nothing that we know of.
    """

    before: Known | None


NEW = Doubt(None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: `names` are the resources it blames, or all of the response's when it blames none of them. `at` is of the caller's clock.

    `culprits`: those of them that are known to be refused, for they are named or alone; they are held back.
    """

    version: str
    nonce: str
    names: tuple[str, ...]
    message: str
    at: float
    origin: tuple[str, ...]
    culprits: tuple[Resource, ...] = ()


@dataclass(slots=True, eq=False)
class InFlight:
    """A response that is neither acknowledged nor refused yet. `before`: what its names were held as, where they were.

    `maps` are those that `names` came from, for a response that clients share; None: `told` has the resources. `last`: nothing else of
    its type was left to be sent then.
    """

    nonce: str
    version: str
    names: tuple[str, ...]
    removed: tuple[str, ...]
    sent_at: float
    maps: Maps | None = None
    told: tuple[Resource, ...] = ()
    before: dict[str, Known] = field(default_factory=dict)
    last: bool = False

    def resources(self) -> Iterable[Resource]:
        """What was sent."""
        if self.maps is None:
            return self.told
        found = (lookup(self.maps, name) for name in self.names)
        return [each for each in found if each is not None]


@dataclass(slots=True, eq=False)
class TypeState:
    """`queue` and `sent` hold what clients share (a whole first answer), until all of it was acknowledged: see `abandon`."""

    type_url: str
    subscription: Subscription
    base: Maps = ()
    overlay: dict[str, Known | Doubt] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    # Of `dirty`, what has to stay back until something else changes, as far as was found out when last asked.
    back: frozenset[str] = frozenset()
    # Subscribed to, but not looked up yet: that waits until the scopes are ready.
    unplanned: Subscription | None = None
    claimed: dict[str, str] | None = None
    claimed_version: str = ""
    # In the state of the world: no request has named anything yet, so that one without names means everything.
    unnamed: bool = False
    # There too: the names that a request has to repeat, as they stand in it.
    named: Mark | None = None
    queue: deque[tuple[Maps, Chunk]] = field(default_factory=deque)
    sent: list[tuple[Maps, tuple[str, ...]]] = field(default_factory=list)
    # A first answer is to come, if only to say that there is nothing.
    owed: bool = False
    in_flight: InFlight | None = None
    # Responses that were not answered in time, and that newer content was sent after.
    late: list[InFlight] = field(default_factory=list)
    nonces: int = 0
    version: str = ""
    acknowledged_version: str = ""
    quarantine: dict[str, str] = field(default_factory=dict)
    splits: deque[tuple[str, ...]] = field(default_factory=deque)
    refusal: Refusal | None = None
    responses: int = 0
    acknowledged: int = 0
    # Everything that was published up to this time is acknowledged, or refused.
    heard_until: float = -inf

    @property
    def idle(self) -> bool:
        """Nothing is on its way and nothing is left to be sent, except what is held back."""
        return self.at_rest and not self.dirty

    def heard(self, since: float) -> bool:
        """Whether what was published until `since` is acknowledged, or refused; whatever has come after it."""
        return self.at_rest or self.heard_until >= since

    @property
    def at_rest(self) -> bool:
        """As `idle`, but for what has to stay back because the client refused something."""
        return (
            self.in_flight is None
            and not self.queue
            and not self.owed
            and self.unplanned is None
            and (not self.dirty or self.dirty <= self.back)
        )

    def held(self, name: str) -> str:
        """The version of `name` that the client holds: ABSENT, UNKNOWN, or a version."""
        known = self.overlay.get(name)
        if known is None:
            found = lookup(self.base, name)
            return found.version if found is not None else ABSENT
        if isinstance(known, Doubt):
            return UNKNOWN
        return known if isinstance(known, str) else known.version

    def acknowledged_of(self, name: str) -> str | None:
        """The version of `name` that the client has acknowledged, and holds; ABSENT: none. None: that cannot be told now."""
        flights = (*self.late, *((self.in_flight,) if self.in_flight else ()))
        if self.unplanned is not None or any(name in each.names or name in each.removed for each in flights):
            return None
        if name not in self.overlay:
            for maps, names in reversed(self.sent):
                found = lookup(maps, name) if name in names else None
                if found is not None:
                    return found.version
        version = self.held(name)
        return None if version == UNKNOWN else version

    def before(self, name: str) -> Known | None:
        """What the client certainly held last under `name`; None: nothing."""
        known = self.overlay.get(name)
        if isinstance(known, Doubt):
            return known.before
        return lookup(self.base, name) if known is None else known or None

    def mark(self, names: Iterable[str]) -> None:
        """`names` may differ now from what the client holds."""
        if self.unplanned is self.subscription:
            return  # nothing was looked up yet
        if self.queue and not self.nonces:
            # Nothing of the first answer was sent: it is made anew.
            self.queue.clear()
            self.unplanned = self.subscription
            return
        self.abandon()
        self.back = frozenset()
        self.dirty.update(names)

    def ask(self, names: Iterable[str]) -> None:
        """`names` are sent whatever the client held of them, which it may still hold."""
        self.abandon()
        for name in names:
            self.overlay[name] = Doubt(self.before(name))
            self.dirty.add(name)

    def ask_new(self, names: Iterable[str]) -> None:
        """The client does not hold `names`, and is to be told even that there is no such thing."""
        self.abandon()
        for name in names:
            self.overlay[name] = NEW
            self.dirty.add(name)

    def tell(self, resources: Iterable[Resource], removed: Iterable[str]) -> dict[str, Known]:
        """These are sent now; what was held before under the names of `resources`, where something was."""
        before: dict[str, Known] = {}
        for resource in resources:
            known = self.before(resource.name)
            if known is not None:
                before[resource.name] = known
            self.overlay[resource.name] = resource
            self.dirty.discard(resource.name)
        for name in removed:
            self.overlay[name] = ABSENT
            self.dirty.discard(name)
        return before

    def forget(self, name: str) -> None:
        """The client no longer wants `name`."""
        self.overlay.pop(name, None)
        self.dirty.discard(name)
        self.quarantine.pop(name, None)

    def abandon(self) -> None:
        """Something changed while a shared answer was on its way: go on name by name."""
        for maps, names in self.sent:
            for name in names:
                found = lookup(maps, name)
                if found is not None:
                    self.overlay[name] = found
        for _, chunk in self.queue:
            for name in chunk.names:
                self.overlay[name] = NEW
                self.dirty.add(name)
        self.owed = self.owed or (bool(self.queue) and not self.nonces)
        self.sent.clear()
        self.queue.clear()

    def settle(self, current: Maps) -> None:
        """The client is idle, so it has all that it wants of `current`: hold a reference to that, and forget the differences."""
        self.base = current
        self.sent.clear()
        self.splits.clear()
        if self.overlay:
            self.overlay = {
                name: known
                for name, known in self.overlay.items()
                if name in self.quarantine
                or (isinstance(known, Doubt) and known.before is not None and lookup(current, name) is None)
            }

    def next_nonce(self) -> str:
        """Nonces count from 1 in each stream and type, so that equal responses of different streams are equal bytes."""
        self.nonces += 1
        self.owed = False
        return str(self.nonces)

    def pending(self) -> tuple[str, ...]:
        """Some of the names that are on their way or waiting to be sent."""
        names: list[str] = list(self.in_flight.names[:SHOWN]) if self.in_flight else []
        for _, chunk in self.queue:
            if len(names) >= SHOWN:
                break
            names.extend(chunk.names[: SHOWN - len(names)])
        if len(names) < SHOWN:
            names.extend(sorted(self.dirty)[: SHOWN - len(names)])
        return tuple(dict.fromkeys(names))
