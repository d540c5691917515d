"""What documents say in vain as the mesh is now, all of them: for `status`, and for `validate` before anything is in force."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.conditions import route_conditions
from mesh.names import Key
from mesh.policy import Policy
from mesh.routes import Subset
from mesh.state import MeshState
from mesh.targeting import CallerRef
from policies.effects import Merges, notes


def all_notes(state: MeshState) -> Iterator[str]:
    """A line for each, beginning with the document; by kind and key. Routes have their conditions instead: see `route_notes`."""
    merges: Merges = {}
    for (kind, key), value in sorted(state.declared.items(), key=lambda item: item[0]):
        for note in notes_of(state, value, merges):
            yield f"{kind} {key}: {note}"


def notes_of(state: MeshState, value: object, merges: Merges) -> Iterator[str]:
    """What one document says in vain, by its value. `merges` is filled and used for the next of the same state."""
    match value:
        case Policy():
            yield from notes(state, value, merges=merges)
            for caller in (*value.callers, *value.mentions):
                if missing := missing_caller(state, caller):
                    yield f"from: nobody yet: {missing}"
        case Subset():
            if narrow := _subset(state, value):
                yield narrow


def route_notes(state: MeshState) -> Iterator[str]:
    """What the conditions of routes say that are not met."""
    for route, conditions in route_conditions(state):
        for each in conditions:
            if not each.status:
                yield f"{route.kind} {route.key}: {each.type} is not met at {each.parent}: {each.reason}: {each.message}"


def missing_caller(state: MeshState, caller: CallerRef) -> str | None:
    """What of `caller` is not there, as a sentence; None if it is there, or names nobody."""
    space = caller.namespace
    if caller.service is not None and Key(space, caller.service) not in state.services:
        return f"there is no service {space}/{caller.service}"
    if caller.workload is not None and Key(space, caller.workload) not in state.workloads:
        return f"there is no workload {space}/{caller.workload}"
    if caller.service_account is not None and not any(
        key.namespace == space and each.service_account == caller.service_account
        for key, each in state.workloads.items()
    ):
        return f"no workload of {space} has the service account {caller.service_account}"
    return None


def _subset(state: MeshState, subset: Subset) -> str | None:
    if subset.service not in state.services:
        return f"there is no service {subset.service} (yet)"
    wanted = set(subset.labels)
    members = [state.workloads[key] for key in state.members.get(subset.service, ())]
    if members and not any(wanted <= set(each.labels) for each in members):
        said = ", ".join(f"{name}={value}" for name, value in subset.labels)
        return f"no workload of {subset.service} has the labels {said}: requests to it find no endpoint"
    return None
