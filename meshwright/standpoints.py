"""From whose edition of the mesh a request is explained: during a rollout or a quarantine, not all proxies are told the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mesh.names import Key
from mesh.state import MeshState
from meshwright.editions import Edition, Member
from meshwright.publisher import Publisher
from meshwright.quarantine.book import Told
from meshwright.rollout.reach import has
from meshwright.rollout.record import Rollout

NAMED = 3
"""Proxies that are named for one reason."""


@dataclass(frozen=True, slots=True)
class Apart:
    """A proxy that is told something else than all sources say."""

    member: Member
    edition: Edition


@dataclass(frozen=True, slots=True)
class Standpoint:
    """`base` is what all sources say; `apart`, by workload, are those that are told something else. May be used beside the event loop:
    `told` may be asked from there, and the others do not change.
    """

    base: MeshState
    apart: Mapping[Key, Apart] = field(default_factory=dict)
    states: Mapping[Key, MeshState] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    told: Callable[[], Iterable[Told]] = tuple

    @classmethod
    def now(
        cls,
        base: MeshState,
        publisher: Publisher,
        rollouts: Iterable[Rollout],
        told: Callable[[], Iterable[Told]],
    ) -> Standpoint:
        """As things are. On the event loop; next to nothing where there is no edition but the base."""
        if not len(publisher.editions):
            return cls(base)
        apart = {}
        for member in publisher.clients():
            edition = publisher.edition(member.client)
            if edition is not publisher.editions.base:
                apart[member.workload] = Apart(member, edition)
        states = {key: each.edition.latest for key, each in apart.items()}
        return cls(base, apart, states, tuple(rollouts), told)

    def state_of(self, proxy: Key) -> MeshState:
        """What the proxy of that workload is told, or would be."""
        return self.states.get(proxy, self.base)

    def cautions(self, met: Iterable[Key]) -> Iterator[str]:
        """Why those of `met` that are told something else are."""
        found = [self.apart[each] for each in sorted({*met}) if each in self.apart]
        if not found:
            return
        for rollout in self.rollouts:
            lacking = [each for each in found if _lacks(rollout, each)]
            if lacking and rollout.state.over:
                yield f"rollout {rollout.id} is withdrawn: {_names(lacking)} given what was before it"
            elif lacking:
                yield f"rollout {rollout.id}: {_names(lacking)} not in its stage"
        for each in self.told():
            without = [
                one
                for one in found
                if each.active and each.case.name in one.edition.names and _spared(each, one)
            ]
            if without:
                kind, key = each.case.name
                instead = "its earlier revision" if each.instead and each.instead.value else "nothing"
                yield f"quarantine of {kind} {key}: {_names(without)} given {instead} in its place"


def _lacks(rollout: Rollout, one: Apart) -> bool:
    concerned = not rollout.names.isdisjoint(one.edition.names)
    return concerned and not has(rollout, one.member.workload, one.member.declared)


def _spared(told: Told, one: Apart) -> bool:
    return told.case.concerns(one.member)


def _names(proxies: list[Apart]) -> str:
    names = [str(each.member.workload) for each in proxies]
    more = len(names) - NAMED
    said = ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{said} {'is' if len(names) == 1 else 'are'}"
