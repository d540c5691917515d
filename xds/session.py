"""What both kinds of session share: make before break, ACK and NACK, and what to send next. Sans-I/O.

The caller's duty: give `receive` each request in order, and send what `poll` returns until it returns None, whenever
a request has come or `on_marked` was called. Times are seconds of any clock that never goes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from xds.cache import NOTHING, Generation, Maps, ResourceCache, lookup, wanted
from xds.errors import ProtocolViolation
from xds.resource import Resource
from xds.state import ABSENT, UNKNOWN, InFlight, Refusal, TypeState
from xds.types import CLUSTER, ENDPOINT, GATED, PREFIX, REMOVAL_ORDER, WILDCARD_BY_DEFAULT

WILDCARD = "*"
GENERATIONS = 256
"""How many publications a session is waited for at most: one that never answers is not waited for by more."""
MESSAGE = 4096
"""Characters of a NACK's message that are kept."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for. Requests over them end its stream."""

    names: int = 200_000
    name_length: int = 4096
    types: int = 32


@dataclass(frozen=True, slots=True)
class Difference:
    """Between what a client holds of a type and what it should hold."""

    changed: list[Resource]
    removed: list[str]
    unanswered: list[str]


class Session(ABC):
    """One stream. `scopes` may be given later: nothing is sent before they are, and are ready."""

    delta: ClassVar[bool]

    def __init__(
        self,
        cache: ResourceCache,
        scopes: tuple[Hashable, ...],
        *,
        only_type: str | None = None,
        limits: Limits = Limits(),
        on_marked: Callable[[], None] = lambda: None,
        on_acknowledged: Callable[[str], None] = lambda _: None,
        on_refused: Callable[[str, Refusal], None] = lambda *_: None,
        on_converged: Callable[[Generation], None] = lambda _: None,
    ) -> None:
        """`only_type` is the type of a separate service; None on an aggregated stream."""
        self.states: dict[str, TypeState] = {}
        self.scopes = scopes
        self._cache = cache
        self._only_type = only_type
        self._limits = limits
        self._on_marked = on_marked
        self._on_acknowledged = on_acknowledged
        self._on_refused = on_refused
        self._on_converged = on_converged
        self._generations: list[Generation] = []

    # What the cache and the server say

    def mark(self, type_url: str, names: Iterable[str], generation: Generation | None) -> None:
        """`names` may have changed (`cache.Subscriber`)."""
        self.states[type_url].mark(names)
        if generation is not None and (not self._generations or self._generations[-1] is not generation):
            generation.waiting.add(id(self))
            self._generations.append(generation)
            if len(self._generations) > GENERATIONS:
                self._leave(self._generations.pop(0))
        self._on_marked()

    def rescope(self, scopes: tuple[Hashable, ...]) -> None:
        """Move to other scopes; what differs is sent, and nothing else."""
        before, self.scopes = self.scopes, scopes
        for type_url, state in self.states.items():
            old, new = self._cache.maps(before, type_url), self._cache.maps(scopes, type_url)
            was = {name: each.version for name, each in wanted(old, state.subscription)}
            now = {name: each.version for name, each in wanted(new, state.subscription)}
            differing = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
            if differing:
                state.mark(differing)
            self._cache.unsubscribe(self, before, type_url, state.subscription)
            self._cache.subscribe(self, scopes, type_url, state.subscription)
        self._on_marked()

    def close(self) -> None:
        """The stream has ended."""
        for type_url, state in self.states.items():
            self._cache.unsubscribe(self, self.scopes, type_url, state.subscription)
        self.states.clear()
        for generation in self._generations:
            self._leave(generation)
        self._generations.clear()

    # What is sent

    def poll(self, now: float) -> tuple[str, int, bytes] | None:
        """The next response to send: its type, how many resources it has, and its bytes. None: nothing for now."""
        if not self._cache.ready(self.scopes):
            return None
        for type_url, state in self.states.items():
            if state.unplanned is not None:
                self._plan(state, self._cache.maps(self.scopes, type_url))
        differences = {kind: self._difference(state) for kind, state in self.states.items() if state.dirty}
        for type_url, state in self.states.items():
            if state.in_flight is not None:
                continue
            response = self._respond(type_url, state, differences, now)
            if response is not None:
                return response
        self._settle()
        return None

    @property
    def settled(self) -> bool:
        """The client has acknowledged everything that it asked for so far, and it asked for something."""
        return bool(self.states) and all(state.idle or self._stuck(state) for state in self.states.values())

    @abstractmethod
    def _respond(
        self, type_url: str, state: TypeState, differences: dict[str, Difference], now: float
    ) -> tuple[str, int, bytes] | None:
        """The response for one type, if there is one to send now."""

    @abstractmethod
    def _plan(self, state: TypeState, maps: Maps) -> None:
        """Look up `state.unplanned`: it was waiting for the scopes to be ready."""

    def _difference(self, state: TypeState) -> Difference:
        """What of `state.dirty` is to be sent. Names that turn out not to differ are no longer dirty; those held back stay."""
        maps = self._cache.maps(self.scopes, state.type_url)
        only = set(state.splits[0]) if state.splits else None
        changed, removed, unanswered = list[Resource](), list[str](), list[str]()
        for name in tuple(state.dirty):
            held, target = state.held(name), lookup(maps, name)
            if not state.subscription.wants(name):
                state.dirty.discard(name)
                state.overlay.pop(name, None)
            elif target is None:
                state.quarantine.pop(name, None)
                if held == ABSENT:
                    state.dirty.discard(name)
                elif held == UNKNOWN:
                    unanswered.append(name)
                else:
                    removed.append(name)
            elif target.version == held:
                state.quarantine.pop(name, None)
                state.dirty.discard(name)
            elif state.quarantine.get(name) == target.version:
                state.dirty.discard(name)  # refused as it is: it waits for other content
            elif (only is None or name in only) and not self._lacks(target):
                state.quarantine.pop(name, None)
                changed.append(target)
        if state.splits and not changed and state.in_flight is None:
            state.splits.pop(0)  # what was left of it has changed or gone
            return self._difference(state)
        return Difference(changed, removed, unanswered)

    def _lacks(self, resource: Resource) -> bool:
        """Whether the client refused something that `resource` refers to: then it stays back, for this client alone."""
        return any(
            (state := self.states.get(type_url)) is not None and name in state.quarantine
            for type_url, name in resource.needs
        )

    def _may_add(self, type_url: str, differences: dict[str, Difference]) -> bool:
        """Whether all that has to be there first was acknowledged."""
        if type_url not in GATED:
            return True
        return all(self._added(each, differences) for each in GATED[: GATED.index(type_url)])

    def _may_remove(self, type_url: str, differences: dict[str, Difference]) -> bool:
        """Whether nothing refers to it any more."""
        if type_url not in REMOVAL_ORDER and type_url != ENDPOINT:
            return True
        if not all(self._added(each, differences) for each in GATED):
            return False
        earlier = REMOVAL_ORDER if type_url == ENDPOINT else REMOVAL_ORDER[: REMOVAL_ORDER.index(type_url)]
        return not any(each in differences and differences[each].removed for each in earlier)

    def _added(self, type_url: str, differences: dict[str, Difference]) -> bool:
        """Whether no addition or change of this type is left to be sent or acknowledged."""
        state = self.states.get(type_url)
        if state is None:
            return True
        if state.in_flight is not None or state.queue:
            return False
        return type_url not in differences or not differences[type_url].changed

    def _sent(
        self,
        state: TypeState,
        nonce: str,
        version: str,
        names: tuple[str, ...],
        removed: tuple[str, ...],
        now: float,
    ) -> None:
        state.version = version
        state.in_flight = InFlight(nonce, version, names, removed, now)
        state.responses += 1
        if state.type_url == CLUSTER:
            # Envoy warms a changed cluster until it has its endpoints, but does not ask for them.
            endpoints = self.states.get(ENDPOINT)
            again = [name for name in names if endpoints is not None and name in endpoints.subscription.names]
            if endpoints is not None and again:
                endpoints.abandon()
                endpoints.ask_again(name for name in again if endpoints.held(name) not in {ABSENT, UNKNOWN})

    # ACK and NACK

    def _acknowledged(self, state: TypeState) -> None:
        assert state.in_flight is not None  # noqa: S101 (the callers saw it)
        state.acknowledged += 1
        state.acknowledged_version = state.in_flight.version
        if state.splits:
            state.splits.pop(0)
        state.in_flight = None
        if not state.quarantine:
            state.refusal = None
        self._on_acknowledged(state.type_url)

    def _refused(self, state: TypeState, message: str, now: float) -> None:
        """Hold the culprit back until its content changes; where none is named, halve until it is alone."""
        flight = state.in_flight
        assert flight is not None  # noqa: S101 (the callers saw it)
        state.in_flight = None
        state.abandon()
        maps = self._cache.maps(self.scopes, state.type_url)
        if state.splits:
            state.splits.pop(0)
        names = flight.names
        named = [name for name in names if name and name in message]
        culprits = named or (list(names) if len(names) == 1 else [])
        blamed = tuple(culprits or names)
        origins = (lookup(maps, name) for name in blamed[:100])
        state.refusal = Refusal(
            version=flight.version,
            nonce=flight.nonce,
            names=blamed,
            message=message[:MESSAGE],
            at=now,
            origin=tuple(dict.fromkeys(line for each in origins if each for line in each.origin)),
        )
        state.ask_again(name for name in names if name not in culprits)
        for name in culprits:
            found = lookup(maps, name)
            # Other content may have come meanwhile: that has not been refused.
            if found is not None:
                state.quarantine[name] = found.version
            self._unheld(state, name)
        if not culprits and len(names) > 1:
            half = len(names) // 2
            state.splits[:0] = [names[:half], names[half:]]
        self._on_refused(state.type_url, state.refusal)

    def _unheld(self, state: TypeState, name: str) -> None:
        """A refused resource: the client has what it had before, if anything; we tell by `base`."""
        found = lookup(state.base, name)
        state.overlay[name] = found.version if found is not None else ABSENT

    # Subscriptions

    def _state(self, type_url: str) -> TypeState | None:
        """The state of a type that a request is about; None for the first request. ProtocolViolation if it makes no sense."""
        if self._only_type is not None:
            if type_url not in {"", self._only_type}:
                raise ProtocolViolation(f"type URL {type_url!r} on a stream for {self._only_type}: use ADS")
            type_url = self._only_type
        if not type_url.startswith(PREFIX) or len(type_url) > 256:
            raise ProtocolViolation(f"type URL {type_url[:256]!r} does not begin with {PREFIX}")
        state = self.states.get(type_url)
        if state is None and len(self.states) >= self._limits.types:
            raise ProtocolViolation(f"more than {self._limits.types} types on one stream")
        return state

    def _kind(self, type_url: str) -> str:
        return self._only_type or type_url

    def _subscribe(self, type_url: str, *, wildcard: bool, names: Iterable[str]) -> TypeState:
        """Make the subscription of a type what it should be; the state, new if it was the first."""
        wanted_names = frozenset(names)
        if len(wanted_names) > self._limits.names:
            raise ProtocolViolation(f"more than {self._limits.names} names of {type_url}")
        new = self._cache.subscription(wildcard=wildcard, names=wanted_names)
        state = self.states.get(type_url)
        if state is None:
            state = TypeState(type_url, new, base=(NOTHING,))
            self.states[type_url] = state
            self._in_order()
        elif state.subscription is new:
            return state
        else:
            self._cache.unsubscribe(self, self.scopes, type_url, state.subscription)
            state.subscription = new
        self._cache.subscribe(self, self.scopes, type_url, new)
        return state

    def _check_names(self, names: Iterable[str]) -> None:
        if max(map(len, names), default=0) > self._limits.name_length:
            raise ProtocolViolation(f"a resource name of more than {self._limits.name_length} characters")

    def _in_order(self) -> None:
        """States in the order in which types are sent, whatever order they were asked for in."""
        rank = {type_url: place for place, type_url in enumerate((CLUSTER, ENDPOINT, *GATED[1:]))}
        self.states = dict(sorted(self.states.items(), key=lambda item: rank.get(item[0], len(rank))))

    @staticmethod
    def _first_wildcard(type_url: str, names: Iterable[str]) -> bool:
        """Whether a first request means everything: it names nothing, or `*`."""
        return (not names and type_url in WILDCARD_BY_DEFAULT) or WILDCARD in names

    # Settling

    def _settle(self) -> None:
        for type_url, state in self.states.items():
            state.settle(self._cache.maps(self.scopes, type_url))
        if self._generations and self.settled:
            for generation in self._generations:
                self._leave(generation)
            self._generations.clear()

    def _stuck(self, state: TypeState) -> bool:
        """Everything that may be sent was; what is left is held back because of a refusal."""
        if state.in_flight is not None or state.queue or state.unplanned is not None:
            return False
        maps = self._cache.maps(self.scopes, state.type_url)
        left = (lookup(maps, name) for name in state.dirty)
        return all(each is not None and self._lacks(each) for each in left)

    def _leave(self, generation: Generation) -> None:
        generation.waiting.discard(id(self))
        if not generation.waiting:
            self._on_converged(generation)
