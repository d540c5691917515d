"""Make before break for one client: what of the difference may be sent now, and what has to stay back.

Worked out afresh each time something may be sent, from what differs alone. The order itself is the table in `types`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xds.cache import Maps, lookup
from xds.resource import Name, Resource
from xds.state import ABSENT, TypeState
from xds.types import ENDPOINT, GATED, REMOVAL_ORDER


@dataclass(slots=True)
class Difference:
    """Between what a client holds of a type and what it should hold. `back`: what the client's refusals keep from being sent."""

    changed: list[Resource] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    back: set[str] = field(default_factory=set)


class Order:
    """What may be sent at this moment. Tidies `dirty`, `quarantine` and `splits` of the states on the way."""

    def __init__(
        self,
        states: Mapping[str, TypeState],
        maps: Callable[[str], Maps],
        says_removed: Callable[[str], bool],
    ) -> None:
        """`maps`: what is in force, by type; `says_removed`: whether the protocol can tell that one of a type has gone."""
        self._states = states
        self._maps = maps
        self._says_removed = says_removed
        self._refusals = any(state.quarantine for state in states.values())
        self.differences = {
            type_url: self._difference(state)
            for type_url, state in states.items()
            if state.dirty and state.in_flight is None and not state.queue
        }
        if self._refusals and any(each.removed for each in self.differences.values()):
            self._keep_what_is_needed()
        for type_url, difference in self.differences.items():
            states[type_url].back = frozenset(difference.back)

    def may_add(self, type_url: str) -> bool:
        """Whether all that has to be there first was acknowledged."""
        if type_url not in GATED:
            return True
        return all(self._added(each) for each in GATED[: GATED.index(type_url)])

    def may_remove(self, type_url: str) -> bool:
        """Whether nothing refers to it any more."""
        if type_url not in REMOVAL_ORDER and type_url != ENDPOINT:
            return True
        if not all(self._added(each) for each in GATED):
            return False
        earlier = REMOVAL_ORDER if type_url == ENDPOINT else REMOVAL_ORDER[: REMOVAL_ORDER.index(type_url)]
        return not any(each in self.differences and self.differences[each].removed for each in earlier)

    def _added(self, type_url: str) -> bool:
        """Whether no addition, change or removal of this type is on its way, and no addition or change left to be sent."""
        state = self._states.get(type_url)
        if state is None:
            return True
        if state.in_flight is not None or state.queue:
            return False
        return type_url not in self.differences or not self.differences[type_url].changed

    def _difference(self, state: TypeState) -> Difference:
        """What of `state.dirty` differs. Names that turn out not to differ are no longer dirty."""
        maps = self._maps(state.type_url)
        while True:
            only = frozenset(state.splits[0]) if state.splits else None
            difference = Difference()
            for name in tuple(state.dirty):
                self._sort(state, name, lookup(maps, name), only, difference)
            if difference.changed or not state.splits:
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
        elif target is None:
            state.quarantine.pop(name, None)
            if state.held(name) == ABSENT:
                state.dirty.discard(name)
            elif not self._says_removed(state.type_url):
                # The client forgets it with what refers to it.
                state.tell((), (name,))
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
        elif only is None or name in only:
            state.quarantine.pop(name, None)
            into.changed.append(target)

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

    def _keep_what_is_needed(self) -> None:
        """What a client still uses in place of what it refused, or of what stays back, refers to things: those stay."""
        needed = self._needed()
        for type_url, difference in self.differences.items():
            kept = (
                set(difference.removed)
                if needed is None
                else {name for name in difference.removed if (type_url, name) in needed}
            )
            difference.back |= kept
            difference.removed = [name for name in difference.removed if name not in kept]

    def _needed(self) -> set[Name] | None:
        """None: we cannot tell, for the client came with something that we have never seen."""
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
        found = self.differences.get(type_url)
        return found.back if found is not None else set()
