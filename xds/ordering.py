"""Make before break for one client: what of the difference may be sent now, and what has to stay back.

Worked out afresh each time something may be sent, from what differs alone. The order itself is the table in `types`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from xds.cache import Maps, lookup
from xds.resource import Name, Resource
from xds.state import ABSENT, Doubt, InFlight, TypeState
from xds.types import CLUSTER, ENDPOINT, GATED, REMOVAL_ORDER

LATE = 4
"""How many responses of a type a client may leave unanswered: it is not sent more."""


@dataclass(slots=True)
class Difference:
    """Between what a client holds of a type and what it should hold. `back`: what the client's refusals keep from being sent;
    `waiting`: what refers to something that the client has not acknowledged yet. `leaving`: those of `changed` that are sent once more
    before they are removed.
    """

    changed: list[Resource] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    back: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)


class Order:
    """What may be sent at this moment. Good for one response. Tidies `dirty`, `quarantine` and `splits` of the states on the way."""

    def __init__(
        self,
        states: Mapping[str, TypeState],
        maps: Callable[[str], Maps],
        says_removed: Callable[[str], bool],
        late_before: float,
        *,
        keep_all: bool,
        expected: Collection[str] = (),
    ) -> None:
        """`maps`: what is in force, by type; `says_removed`: whether the protocol can tell that one of a type has gone.

        What was sent at `late_before` or earlier and is not acknowledged no longer holds up what does not refer to it.
        With `keep_all`, nothing is removed yet that something else may refer to. `expected` are endpoints that the client is about
        to ask for.
        """
        self._states = states
        self._expected = expected
        self._maps = maps
        self._says_removed = says_removed
        self._late_before = late_before
        self._on_their_way: dict[str, frozenset[str]] = {}
        self._refusals = any(state.quarantine for state in states.values())
        self._keeps = keep_all or self._refusals
        self._keep_all = keep_all
        self._differences: dict[str, Difference | None] = {}

    def difference(self, type_url: str) -> Difference | None:
        """What differs of a type; None if nothing may be sent of it. Worked out when it is first asked for, after the types that
        are sent before it: what a response before it decides already needs no more.
        """
        if type_url not in self._differences and type_url in self._states:
            for each, state in self._states.items():
                if each not in self._differences:
                    self._compare(each, state)
                if each == type_url:
                    break
        return self._differences.get(type_url)

    def _compare(self, type_url: str, state: TypeState) -> None:
        found = None
        if state.dirty and not state.queue and self.may_send(state):
            found = self._difference(state)
            state.back = frozenset(found.back)
        self._differences[type_url] = found
        if self._keeps and found is not None and found.removed:
            self._keeps = False
            self._keep(None if self._keep_all else self._needed())

    def may_send(self, state: TypeState) -> bool:
        """Whether the client has answered what was sent of this type, or may be sent more though it has not."""
        return state.in_flight is None or (self._late(state.in_flight) and len(state.late) < LATE)

    def _late(self, flight: InFlight) -> bool:
        return flight.sent_at <= self._late_before

    def may_add(self, type_url: str) -> bool:
        """Whether all that has to be there first was acknowledged."""
        if type_url not in GATED:
            return True
        for each in GATED:
            if each == type_url:
                return True
            if not self._added(each):
                return False
        return True

    def may_remove(self, type_url: str) -> bool:
        """Whether nothing refers to it any more."""
        if type_url not in REMOVAL_ORDER and type_url != ENDPOINT:
            return True
        if not all(self._added(each) and self._answered(each) for each in GATED):
            return False
        earlier = REMOVAL_ORDER if type_url == ENDPOINT else REMOVAL_ORDER[: REMOVAL_ORDER.index(type_url)]
        differences = (self.difference(each) for each in earlier)
        return not any(each is not None and each.removed for each in differences)

    def _added(self, type_url: str) -> bool:
        """Whether no addition, change or removal of this type is on its way (or it is late), and no addition or change left to be sent."""
        state = self._states.get(type_url)
        if state is None:
            return True
        if state.queue or (state.in_flight is not None and not self._late(state.in_flight)):
            return False
        difference = self.difference(type_url)
        return difference is None or not (difference.changed or difference.waiting)

    def _answered(self, type_url: str) -> bool:
        state = self._states.get(type_url)
        return state is None or (state.in_flight is None and not state.late)

    def _difference(self, state: TypeState) -> Difference:
        """What of `state.dirty` differs. Names that turn out not to differ are no longer dirty."""
        maps = self._maps(state.type_url)
        while True:
            only = frozenset(state.splits[0]) if state.splits else None
            difference = Difference()
            for name in tuple(state.dirty):
                self._sort(state, name, lookup(maps, name), only, difference)
            if difference.changed or difference.waiting or not state.splits:
                return difference
            state.splits.popleft()  # what was left of it has changed or gone

    def _sort(
        self,
        state: TypeState,
        name: str,
        target: Resource | None,
        only: frozenset[str] | None,
        into: Difference,
    ) -> None:
        if not state.subscription.wants(name):
            state.forget(name)
        elif target is None and (awaited := self._awaited(state, name)) is not None:
            into.changed.append(awaited)
            into.leaving.add(name)
        elif target is None:
            state.quarantine.pop(name, None)
            if state.held(name) == ABSENT:
                state.dirty.discard(name)
            elif not self._says_removed(state.type_url):
                # The client forgets it with what refers to it, and then no longer asks for it.
                state.overlay[name] = Doubt(state.before(name))
                state.dirty.discard(name)
            elif state.before(name) is None:
                into.unanswered.append(name)
            else:
                into.removed.append(name)
        elif target.version == state.held(name):
            state.quarantine.pop(name, None)
            state.dirty.discard(name)
        elif state.quarantine.get(name) == target.version:
            state.dirty.discard(name)  # refused as it is: it waits for other content
        elif self._lacks(target, set()):
            into.back.add(name)
        elif self._waits(target):
            into.waiting.add(name)
        elif only is None or name in only:
            state.quarantine.pop(name, None)
            into.changed.append(target)

    def _awaited(self, state: TypeState, name: str) -> Resource | None:
        """The endpoints that have gone from the client's scopes, and that it waits for all the same: it warms a cluster which was changed
        before that, and would answer only when its patience ends. It is given once more those that it had.
        """
        known = state.overlay.get(name)
        if (
            state.type_url != ENDPOINT
            or not isinstance(known, Doubt)
            or not isinstance(known.before, Resource)
        ):
            return None
        clusters = self._states.get(CLUSTER)
        flights = () if clusters is None else (*clusters.late, clusters.in_flight)
        warms = any(
            each.endpoints == name for flight in flights if flight is not None for each in flight.resources()
        )
        return known.before if warms else None

    def _lacks(self, resource: Resource, seen: set[Name]) -> bool:
        """Whether the client refused something that `resource` refers to, if only by way of others: then it stays back."""
        if not self._refusals or not resource.needs:
            return False
        for needed in resource.needs:
            if needed in seen:
                continue
            seen.add(needed)
            type_url, name = needed
            state = self._states.get(type_url)
            if state is None:
                continue
            if name in state.quarantine:
                return True
            target = lookup(self._maps(type_url), name) if name in state.dirty else None
            if target is not None and self._lacks(target, seen):
                return True
        return False

    def _waits(self, resource: Resource) -> bool:
        """Whether the client has yet to acknowledge something that `resource` refers to.

        Only what is sent before it counts, or two could wait for each other.
        """
        if not resource.needs or resource.type_url not in GATED:
            return False
        later = GATED[GATED.index(resource.type_url) :]
        return any(
            type_url not in later and self._unsettled(type_url, name) for type_url, name in resource.needs
        )

    def _unsettled(self, type_url: str, name: str) -> bool:
        if type_url == ENDPOINT and name in self._expected:
            return True
        state = self._states.get(type_url)
        if state is None or not state.subscription.wants(name):
            return False
        if name in state.dirty:
            # What is to go goes after all that refers to it: to wait for that would be to wait for ever.
            return lookup(self._maps(type_url), name) is not None
        if state.in_flight is None and not state.queue:
            return False
        on_their_way = self._on_their_way.get(type_url)
        if on_their_way is None:
            flights = [*state.late, *([state.in_flight] if state.in_flight is not None else [])]
            on_their_way = frozenset(
                name
                for names in (*(each.names for each in flights), *(chunk.names for _, chunk in state.queue))
                for name in names
            )
            self._on_their_way[type_url] = on_their_way
        return name in on_their_way

    def _keep(self, needed: set[Name] | None) -> None:
        """Of what is to be removed, what is `needed` stays; None: all of it."""
        for type_url in (*REMOVAL_ORDER, ENDPOINT):
            difference = self.difference(type_url)
            if difference is None:
                continue
            kept = (
                set(difference.removed)
                if needed is None
                else {name for name in difference.removed if (type_url, name) in needed}
            )
            difference.back |= kept
            difference.removed = [name for name in difference.removed if name not in kept]
            self._states[type_url].back = frozenset(difference.back)

    def _needed(self) -> set[Name] | None:
        """What a client still uses in place of what it refused, or of what stays back, refers to things: these.

        None: we cannot tell, for the client came with something that we have never seen.
        """
        needed: set[Name] = set()
        todo = [
            (type_url, name)
            for type_url, state in self._states.items()
            for name in (*state.quarantine, *self._back(type_url))
        ]
        while todo:
            type_url, name = todo.pop()
            state = self._states.get(type_url)
            before = state.before(name) if state is not None else None
            if isinstance(before, str):
                return None
            for each in before.needs if before is not None else ():
                if each not in needed:
                    needed.add(each)
                    todo.append(each)
        return needed

    def _back(self, type_url: str) -> set[str]:
        found = self.difference(type_url)
        return found.back if found is not None else set()
