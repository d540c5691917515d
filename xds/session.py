"""What both kinds of session share: make before break, ACK and NACK, and what to send next. Sans-I/O.

The caller's duty: give `receive` each request in order, and send what `poll` returns until it returns None, whenever
a request has come or `on_marked` was called. Times are seconds of any clock that never goes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from xds.cache import NOTHING, Generation, Maps, ResourceCache, Subscription, lookup, wanted
from xds.errors import ProtocolViolation
from xds.on_request import whole
from xds.ordering import Order
from xds.refusals import named
from xds.refusals import parts as blame
from xds.resource import Resource
from xds.state import ABSENT, Doubt, InFlight, Refusal, TypeState
from xds.types import CLUSTER, ENDPOINT, GATED, PREFIX, WHOLE_IN_SOTW, WILDCARD_BY_DEFAULT

WILDCARD = "*"
GENERATIONS = 256
"""How many publications a session is waited for at most: one that never answers is not waited for by more."""
MESSAGE = 4096
"""Characters of a NACK's message that are kept."""
ASKING = 0.1
"""Seconds that a client has, after it took a new cluster, to ask for its endpoints: routes that need them wait as long."""
RESUMING = 1.0
"""Seconds that a client which comes back has to say what it holds of all types: before, nothing is removed that it may refer to."""
ORIGINS = 100
"""How many origins of refused resources are kept, about."""
LEADING = frozenset(GATED[1:])
"""Types that lead to clusters: of no use before those are there."""
_RANK = {type_url: place for place, type_url in enumerate((CLUSTER, ENDPOINT, *GATED[1:]))}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for. Requests over them end its stream. `unknown_names`: how many names of a type beyond twice
    those that there are.
    """

    names: int = 200_000
    unknown_names: int = 10_000
    name_length: int = 4096
    types: int = 32


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
        ack_timeout: float = 20.0,
        on_marked: Callable[[], None] = lambda: None,
        on_acknowledged: Callable[[str], None] = lambda _: None,
        on_refused: Callable[[str, Refusal], None] = lambda *_: None,
        on_converged: Callable[[Generation], None] = lambda _: None,
    ) -> None:
        """`only_type` is the type of a separate service; None on an aggregated stream. What the client has not answered after
        `ack_timeout` seconds holds up only what refers to it, and newer content of its type is sent after it.
        """
        self.states: dict[str, TypeState] = {}
        self.scopes = scopes if self.delta else whole(scopes)
        self._cache = cache
        self._only_type = only_type
        self._limits = limits
        self._ack_timeout = ack_timeout
        self._on_marked = on_marked
        self._on_acknowledged = on_acknowledged
        self._on_refused = on_refused
        self._on_converged = on_converged
        self._generations: list[Generation] = []
        self._expected: dict[str, float] = {}
        # Whether the client said that it held clusters when it came, and those sent before it asked for endpoints.
        self._resumed = False
        self._resumed_at: float | None = None
        self._warming: set[str] = set()
        self.yields = False

    # What the cache and the server say

    def mark(self, type_url: str, names: Iterable[str], generation: Generation | None) -> None:
        """`names` may have changed (`cache.Subscriber`)."""
        self.states[type_url].mark(names)
        if generation is not None and (not self._generations or self._generations[-1] is not generation):
            generation.waiting.add(id(self))
            self._generations.append(generation)
            if len(self._generations) > GENERATIONS:
                self._generations.pop(
                    0
                )  # it goes on to wait for this session, so it is never said to have converged
        self._on_marked()

    def rescope(self, scopes: tuple[Hashable, ...]) -> None:
        """Move to other scopes; what differs is sent, and nothing else."""
        scopes = scopes if self.delta else whole(scopes)
        before, self.scopes = self.scopes, scopes
        for type_url, state in self.states.items():
            to = state.subscription
            old, new = self._cache.maps(before, type_url, to), self._cache.maps(scopes, type_url, to)
            was = {name: each.version for name, each in wanted(old, to)}
            now = {name: each.version for name, each in wanted(new, to)}
            differing = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
            if differing:
                state.mark(differing)
            self._cache.unsubscribe(self, before, type_url, to)
            self._cache.subscribe(self, scopes, type_url, to)
        self._on_marked()

    def close(self) -> None:
        """The stream has ended."""
        for type_url, state in self.states.items():
            self._cache.unsubscribe(self, self.scopes, type_url, state.subscription)
        self.states.clear()
        for generation in self._generations:
            generation.waiting.discard(id(self))
        self._generations.clear()

    # What is sent

    def poll(self, now: float, *, hurried: bool = False) -> tuple[str, int, bytes] | None:
        """The next response to send: its type, how many resources it has, and its bytes. None: nothing for now.

        While `hurried`, what leads to clusters stays back: `yields` says afterwards whether something did.
        """
        self.yields = False
        if not self._cache.ready(self.scopes):
            return None
        quarantined, todo = False, list[TypeState]()
        for state in self.states.values():
            if state.unplanned is not None:
                self._plan(state)
            if state.quarantine:
                quarantined = True
            if state.dirty or state.queue:
                todo.append(state)
        if quarantined:
            for type_url in GATED:  # what is shared may hold something that refers to what was refused
                state_of = self.states.get(type_url)
                # A chunk without names says that there is nothing: a client waits for that as well.
                if state_of is not None and any(chunk.names for _, chunk in state_of.queue):
                    state_of.abandon()
                    todo.append(state_of)
        if self._resumed_at is not None and now >= self._resumed_at + RESUMING:
            self._resumed_at = None
        if self._expected:
            asked = self.states[ENDPOINT].subscription
            self._expected = {
                name: until for name, until in self._expected.items() if until > now and not asked.wants(name)
            }
        if hurried and todo and all(state.type_url in LEADING for state in todo):
            self.yields = True
            return None
        if not todo:
            self._settle()  # as after most acknowledgements
            return None
        order = Order(
            self.states,
            self._maps,
            self._says_removed,
            now - self._ack_timeout,
            keep_all=self._resumed_at is not None,
            expected=self._expected.keys(),
        )
        for state in self.states.values():
            if hurried and state.type_url in LEADING:
                self.yields = self.yields or bool(state.dirty)
            elif (state.dirty or state.queue or state.owed) and order.may_send(state):
                response = self._respond(state, order, now)
                if response is not None:
                    return response
        self._settle()
        return None

    def poll_at(self) -> float | None:
        """When `poll` is to be called even if nothing happens: a response counts as late, or what has gone is told. None: never."""
        due = [
            state.in_flight.sent_at + self._ack_timeout
            for state in self.states.values()
            if state.in_flight is not None
        ]
        due.extend(self._expected.values())
        if self._resumed_at is not None and any(state.back for state in self.states.values()):
            due.append(self._resumed_at + RESUMING)
        return min(due, default=None)

    @property
    def impatient(self) -> bool:
        """Whether `poll_at` may be sooner than it was for what was sent before."""
        return bool(self._expected) or self._resumed_at is not None

    @property
    def settled(self) -> bool:
        """The client has acknowledged everything that it asked for so far, and it asked for something."""
        return bool(self.states) and all(state.at_rest for state in self.states.values())

    def heard(self, since: float) -> bool:
        """Whether the client has acknowledged, or refused, what was published until `since`, whatever has come after it."""
        return (
            bool(self.states)
            and not self._expected
            and all(state.heard(since) for state in self.states.values())
        )

    def missing(self, type_url: str) -> set[str]:
        """The names that the client asks for and its scopes do not have."""
        state = self.states.get(type_url)
        if state is None:
            return set()
        maps = self._maps(type_url)
        return {name for name in state.subscription.names if lookup(maps, name) is None}

    def subscribes(self, type_url: str, name: str) -> bool:
        state = self.states.get(type_url)
        return state is not None and state.subscription.wants(name)

    def acknowledged(self, type_url: str, name: str) -> str | None:
        """The version of a resource that the client holds and has acknowledged; empty: none. None: that cannot be told now."""
        state = self.states.get(type_url)
        return None if state is None else state.acknowledged_of(name)

    @abstractmethod
    def parse(self, data: bytes) -> DiscoveryRequest | DeltaDiscoveryRequest:
        """The next request, for `receive`. DecodeError if it is none."""

    @abstractmethod
    def _respond(self, state: TypeState, order: Order, now: float) -> tuple[str, int, bytes] | None:
        """The response for one type, if there is one to send now."""

    @abstractmethod
    def _plan(self, state: TypeState) -> None:
        """Look up `state.unplanned`: it was waiting for the scopes to be ready."""

    @abstractmethod
    def _says_removed(self, type_url: str) -> bool:
        """Whether the protocol can tell that a resource of this type has gone."""

    def _maps(self, type_url: str) -> Maps:
        """What there is of a type that the client asked for."""
        return self._cache.maps(self.scopes, type_url, self.states[type_url].subscription)

    def _sent(self, state: TypeState, flight: InFlight, doubted: Iterable[Resource] = ()) -> None:
        """`doubted` are sent as they were before, to a client that may have something newer."""
        state.version = flight.version
        if state.in_flight is not None:
            state.late.append(state.in_flight)
        flight.last = not state.queue and not state.dirty
        state.in_flight = flight
        state.responses += 1
        if state.type_url == CLUSTER and (self._resumed or ENDPOINT in self.states):
            self._send_endpoints_again((*flight.resources(), *doubted))

    def _send_endpoints_again(self, clusters: Iterable[Resource]) -> None:
        """Envoy warms a changed cluster until it has its endpoints, but does not ask for them."""
        endpoints = self.states.get(ENDPOINT)
        if endpoints is None or endpoints.unplanned is endpoints.subscription:
            if self._resumed:
                # The client may be about to say that it holds the endpoints.
                self._warming.update(each.endpoints for each in clusters)
            return
        again = [each.endpoints for each in clusters if endpoints.subscription.wants(each.endpoints)]
        if again:
            endpoints.abandon()
            endpoints.ask([name for name in again if endpoints.before(name) is not None])

    # ACK and NACK

    def _answered(self, state: TypeState, nonce: str, error: str | None, now: float) -> None:
        """A request has `nonce`: it acknowledges that response, or refuses it with `error`. Others, of long ago, do neither."""
        flight = state.in_flight
        if flight is not None and flight.nonce == nonce:
            state.in_flight = None
            state.late.clear()  # clients answer in order
        else:
            flight = next((each for each in state.late if each.nonce == nonce), None)
            if flight is None:
                return
            del state.late[: state.late.index(flight) + 1]
        if error is None:
            self._acknowledged(state, flight)
            if state.type_url == CLUSTER and ENDPOINT in self.states:
                self._expected.update(
                    {each.endpoints: now + ASKING for each in flight.told if each.name not in flight.before}
                )
        else:
            self._refused(state, flight, error, now)

    def _acknowledged(self, state: TypeState, flight: InFlight) -> None:
        state.acknowledged += 1
        state.acknowledged_version = flight.version
        if flight.last:
            state.heard_until = flight.sent_at
        if state.splits and flight.names:
            state.splits.popleft()
        if not state.quarantine and not state.splits:
            state.refusal = None
        self._on_acknowledged(state.type_url)

    def _refused(self, state: TypeState, flight: InFlight, message: str, now: float) -> None:
        """Hold the culprit back until its content changes; where none is named, halve until it is alone."""
        newer = frozenset(name for each in (*state.late, state.in_flight) if each for name in each.names)
        state.abandon()
        if state.splits and flight.names:
            state.splits.popleft()
        culprits, parts = blame(flight.names, message)
        blamed = frozenset(culprits) or frozenset(named(flight.names, message)) or frozenset(flight.names)
        origin: dict[str, None] = {}
        held_back: list[Resource] = []
        for resource in flight.resources():
            name = resource.name
            if name in blamed and len(origin) < ORIGINS:
                origin.update(dict.fromkeys(resource.origin))
            if name in newer or not state.subscription.wants(name):
                continue
            # Applied or not, nobody knows. Other content may have come meanwhile: that has not been refused.
            state.overlay[name] = Doubt(flight.before.get(name))
            state.dirty.add(name)
            if name in culprits:
                state.quarantine[name] = resource.version
                held_back.append(resource)
        state.splits.extendleft(reversed(parts))
        state.refusal = Refusal(
            version=flight.version,
            nonce=flight.nonce,
            names=tuple(name for name in flight.names if name in blamed),
            message=message[:MESSAGE],
            at=now,
            origin=tuple(origin),
            culprits=tuple(held_back),
        )
        self._on_refused(state.type_url, state.refusal)

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

    def _first(self, type_url: str, *, wildcard: bool, names: Collection[str]) -> TypeState:
        """The state of a type that is asked for for the first time: everything is to be looked up."""
        self._limit(type_url, len(names))
        new = self._cache.subscription(wildcard=wildcard, names=names)
        state = TypeState(type_url, new, base=(NOTHING,), unplanned=new)
        self.states[type_url] = state
        # In the order in which types are sent, whatever order they were asked for in.
        self.states = dict(sorted(self.states.items(), key=lambda item: _RANK.get(item[0], len(_RANK))))
        self._cache.subscribe(self, self.scopes, type_url, new)
        return state

    def _change_to(
        self, state: TypeState, new: Subscription, *, asked: Iterable[str], left: Iterable[str]
    ) -> None:
        """Make the subscription `new`. `asked` of its names are to be answered, whatever the client held; `left` it no longer names."""
        was, type_url, wildcard = state.subscription, state.type_url, new.wildcard
        self._limit(type_url, len(new.names))
        if new is not was:
            self._cache.unsubscribe(self, self.scopes, type_url, was)
            self._cache.subscribe(self, self.scopes, type_url, new)
            state.subscription = new
        if state.unplanned is was:
            state.unplanned = new  # nothing was looked up yet
            return
        if state.unplanned is not None:
            pending, state.unplanned = state.unplanned, None
            state.ask_new(pending.names)
        if was.wildcard and not wildcard:
            state.abandon()
            known = state.overlay.keys() | state.quarantine.keys() | state.dirty
            for name in [name for name in known if not new.wants(name)]:
                state.forget(name)
        elif left and not wildcard:
            state.abandon()
            for name in left:
                state.forget(name)
        if wildcard and not was.wildcard:
            self._widen(state, was)
        fresh = list(asked)
        for name in fresh:
            state.quarantine.pop(name, None)  # it is asked for again: so it is tried again
        if (
            was.wildcard
            or not state.idle
            or state.sent
            or state.overlay
            or (not self.delta and type_url in WHOLE_IN_SOTW)
        ):
            state.abandon()
            state.ask([name for name in fresh if was.wants(name)])
            state.ask_new([name for name in fresh if not was.wants(name)])
        elif fresh:
            state.unplanned = self._cache.subscription(wildcard=False, names=fresh)

    def _widen(self, state: TypeState, was: Subscription) -> None:
        """Everything is wanted now: of what was not, the client holds nothing, whatever `base` says."""
        state.abandon()
        for name, _ in wanted(self._maps(state.type_url), state.subscription):
            if name not in was.names:
                state.overlay[name] = ABSENT
                state.dirty.add(name)

    def _limit(self, type_url: str, number: int) -> None:
        """ProtocolViolation for far more names than there are: names cost memory, and time, even if nobody has them."""
        most = self._limits.names
        if self._cache.ready(self.scopes):
            known = sum(map(len, self._cache.maps(self.scopes, type_url)))
            most = min(most, self._limits.unknown_names + 2 * known)
        if number > most:
            raise ProtocolViolation(f"more than {most} names of {type_url}: ask for what there is")

    def _check_names(self, names: Iterable[str]) -> None:
        if max(map(len, names), default=0) > self._limits.name_length:
            raise ProtocolViolation(f"a resource name of more than {self._limits.name_length} characters")

    @staticmethod
    def _first_wildcard(type_url: str, names: Iterable[str]) -> bool:
        """Whether a first request means everything: it names nothing, or `*`."""
        return (not names and type_url in WILDCARD_BY_DEFAULT) or WILDCARD in names

    # Settling

    def _settle(self) -> None:
        for type_url, state in self.states.items():
            if (state.overlay or state.sent or state.splits) and state.idle:
                state.settle(self._maps(type_url))
        if self._generations and self.settled:
            done, self._generations = self._generations, []
            for generation in done:
                generation.waiting.discard(id(self))
                if not generation.waiting:
                    self._on_converged(generation)
