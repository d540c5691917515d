"""Whom a rollout concerns, and who of them has it: pure.

In doubt somebody is concerned: what a proxy gets is equal then, with the change and without, and its requests only make the comparison
rounder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesh.declared import moved
from mesh.events import Changes
from mesh.names import Key
from mesh.policy import Policy
from mesh.rollout import POINTS, Plan, Stage, has_labels, point, threshold
from mesh.state import MeshState
from mesh.targeting import Caller, concerns
from mesh.workload import Workload
from meshwright.rollout.machine import Phase
from meshwright.rollout.record import Rollout, Staged
from policies.effects import proxies
from policies.kind import Side
from policies.registry import POLICIES

_SIDES = {kind.name: kind.side for kind in POLICIES}


@dataclass(frozen=True, slots=True)
class Concerned:
    """Sidecars and gateways that get something else by a change: as `callers` of others, or where they are called (`callees`)."""

    callers: frozenset[Key] = frozenset()
    callees: frozenset[Key] = frozenset()

    @property
    def everybody(self) -> frozenset[Key]:
        return self.callers | self.callees


def concerned(state: MeshState, documents: Iterable[Staged]) -> Concerned:
    """Takes as long as the mesh is large: some 10 ms for 10,000 workloads."""
    callers: set[Key] = set()
    callees: set[Key] = set()
    for each in documents:
        here = state.declared.get(each.name)
        for version in (each.before, each.after):
            other = None if version.value is None else version.value.value
            if other == here:
                continue
            changes = moved(state, each.name, other)[1]
            for value in (each for each in (here, other) if each is not None):
                side = _SIDES.get(each.name[0])
                if side is None or Side.CALLER in side:
                    callers.update(_callers(state, changes, value))
                if side is None:  # a route, of which a gateway's own listeners may be made
                    callers.update(_meshed(state, changes.workloads))
                elif side & (Side.CALLEE | Side.LISTENER):
                    callees.update(_meshed(state, changes.workloads))
    return Concerned(frozenset(callers), frozenset(callees))


def _callers(state: MeshState, changes: Changes, value: object) -> Iterator[Key]:
    named = value.callers if isinstance(value, Policy) else ()
    for key in proxies(state, Changes(services=changes.services)):
        of = state.workloads[key]
        if concerns(named, Caller(key, of.service_account, of.services)):
            yield key


def _meshed(state: MeshState, workloads: Iterable[Key]) -> Iterator[Key]:
    return (key for key in workloads if (of := state.workloads.get(key)) is not None and of.meshed)


def thresholds(plan: Plan, workloads: frozenset[Key]) -> tuple[int, ...]:
    """For each stage, the point below which the proxies of its share stand; 0 where it names none by a share. Never falling."""
    found: list[int] = []
    for stage in plan.stages:
        at = 0 if stage.share is None else threshold(workloads, stage.share)
        found.append(max(at, found[-1] if found else 0))
    return tuple(found)


def has(rollout: Rollout, key: Key, declared: Workload | None) -> bool:
    """Whether the proxy of a workload is to have what changes; `declared` None while no source declares it."""
    state = rollout.state
    if state.phase is Phase.COMPLETED:
        return True
    if state.phase is Phase.WITHDRAWN or rollout.thresholds is None:
        return False
    at = rollout.thresholds[state.stage]
    if at >= POINTS or point(key) < at:
        return True
    return declared is not None and any(
        _named(stage, declared) for stage in rollout.plan.stages[: state.stage + 1]
    )


def _named(stage: Stage, workload: Workload) -> bool:
    if stage.labels:
        return has_labels(dict(workload.labels), stage.labels)
    return workload.locality.zone in stage.zones if stage.zones else False
