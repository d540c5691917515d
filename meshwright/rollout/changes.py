"""Which documents an event changes, and by which plan these go out: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.declared import moved
from mesh.events import Declared, DocumentName, Event, SourceGone, SourceSnapshot
from mesh.names import Key
from mesh.rollout import Plan, RolloutPolicy
from mesh.state import MeshState
from mesh.targeting import Level
from meshwright.revisions import in_force
from meshwright.rollout.record import Asked, Rollout, Staged, Version
from policies.rollout import NOT_STAGED


def changed(state: MeshState, event: Event) -> tuple[Staged, ...]:
    """The documents that say something else once `event` has come, by name. Nothing for the first word of a source: nobody knows what was
    before, and what proxies have of it they keep.
    """
    view = state.sources.get(event.source)
    if view is None or isinstance(event, SourceGone):
        return ()
    said: dict[DocumentName, Declared | None] = {each.name: each for each in event.declared}
    if isinstance(event, SourceSnapshot):
        said |= {name: None for name in view.declared if name not in said}
    else:
        said |= dict.fromkeys(event.removed_declared)
    found = []
    for name in sorted(said):
        if name[0] in NOT_STAGED:
            continue
        before, after = _before(state, name, event.source), _after(state, name, event.source, said[name])
        if before.value != after.value:
            found.append(Staged(name, before, after))
    return tuple(found)


def _before(state: MeshState, name: DocumentName, source: str) -> Version:
    found = in_force(state, name)
    if found is None or not isinstance(found[1], Declared):
        return Version(source, None)
    return Version(found[0], found[1])


def _after(state: MeshState, name: DocumentName, source: str, said: Declared | None) -> Version:
    for each in state.ranked():
        value = said if each == source else state.sources[each].declared.get(name)
        if value is not None:
            return Version(each, value)
    return Version(source, None)


@dataclass(frozen=True, slots=True)
class Settled:
    """What an event means for the rollouts: `kept` are those before, as they are now, `new` the one that it begins.

    `ended` says, of those before that are over by it, why.
    """

    kept: tuple[Rollout, ...] = ()
    new: tuple[Rollout, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)


def settle(
    state: MeshState,
    documents: Iterable[Staged],
    rollouts: Iterable[Rollout],
    policies: Iterable[RolloutPolicy],
    asked: Iterable[Asked],
    now: float,
    undoing: str = "",
) -> Settled:
    """What becomes of `rollouts`, and which begin, when `documents` change.

    A further change of a document that is on its way replaces its rollout, with all documents of it: proxies go back to what was before the
    first of the two, and the new one begins at its first stage, by the plan that is said for it, or else that of the one it replaces. What
    is put back as it was ends it. `undoing`: the rollout that is being undone: what it removed comes back, with another age.
    """
    going: dict[str, Rollout] = {each.id: each for each in rollouts}
    ended: dict[str, str] = {}
    fresh: dict[tuple[Plan, str], dict[DocumentName, Staged]] = {}
    policies, asked = tuple(policies), tuple(asked)
    for each in documents:
        earlier = next((of for of in going.values() if each.name in of.names), None)
        was = earlier.staged(each.name) if earlier is not None else None
        if was is not None and each.after.value == was.after.value:
            continue  # told again, as after a restart
        if (
            earlier is not None
            and was is not None
            and (each.after.value == was.before.value or (earlier.id == undoing and was.after.value is None))
        ):
            left = earlier.without(each.name)
            if left.documents:
                going[earlier.id] = left
            else:
                ended[earlier.id] = f"{each} was put back as it was"
            continue
        by = _asked(each, asked) or _by_policy(state, each, policies)
        if by is None and earlier is not None:
            by = earlier.plan, earlier.by
        if by is None:
            continue
        begun = fresh.setdefault(by, {})
        for others in fresh.values():  # no document is in two
            others.pop(each.name, None)
        if earlier is not None and was is not None:
            ended[earlier.id] = f"replaced: {each} changed again"
            for other in earlier.documents:  # they come along: they were written to be in force together
                if not any(other.name in others for others in fresh.values()):
                    begun[other.name] = other
            begun[each.name] = Staged(each.name, was.before, each.after)
        else:
            begun[each.name] = each
    made = tuple(Rollout.of(staged.values(), plan, by, now) for (plan, by), staged in fresh.items() if staged)
    return Settled(tuple(going.values()), made, ended)


def _asked(each: Staged, asked: Iterable[Asked]) -> tuple[Plan, str] | None:
    return next(((one.plan, one.by) for one in asked if each.name in one.names), None)


def _by_policy(
    state: MeshState, each: Staged, policies: tuple[RolloutPolicy, ...]
) -> tuple[Plan, str] | None:
    """The nearest policy, and of several the first by name."""
    kind, key = each.name
    services = frozenset[Key]()
    if any(target.level is Level.SERVICE for policy in policies for target in policy.targets):
        value = None if each.after.value is None else each.after.value.value
        services = moved(state, each.name, value)[1].services
    ranked = [
        (-rank, policy.key, policy)
        for policy in policies
        if (rank := policy.rank(kind, key, services)) is not None
    ]
    if not ranked:
        return None
    policy = min(ranked, key=lambda one: one[:2])[2]
    return policy.plan, f"RolloutPolicy {policy.key}"
