"""What the status of a ListenerSet says: whether its gateway has it, and whether its listeners are served.

Types and reasons: ListenerSetStatus and ListenerEntryStatus of https://gateway-api.sigs.k8s.io/reference/spec/, and GEP-1713. Of what
others declared, a message says no more than that it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh.conditions import (
    GatewayCondition,
    listener_conditions,
    refused_conditions,
    routes_by_listener,
)
from mesh.gateway_secrets import Loaded
from mesh.gateway_views import declared
from mesh.gateways import Gateway, GatewayListener, ListenerSet, Place
from mesh.listener_sets import MOST, Joined, joined, refusal, whole
from mesh.names import Key
from mesh.namespaces import labels_in
from mesh.routes import Route
from mesh.state import MeshState

NOT_VALID = "ListenersNotValid"


@dataclass(frozen=True, slots=True)
class SetStanding:
    """A ListenerSet and how it stands: `conditions` of all of it, then of each of its listeners. `routes`: how many each of these has."""

    set: ListenerSet
    accepted: bool
    conditions: tuple[GatewayCondition, ...]
    routes: tuple[tuple[str, int], ...]


def standings(state: MeshState, loaded: Loaded, problem: Callable[[Key], str]) -> Iterator[SetStanding]:
    """Of all sets, by gateway and key. `problem` says what is wrong with the files of a Secret; empty: nothing."""
    for key in sorted(state.edges.sets):
        gateway = declared(state, key)
        taken = {} if gateway is None else {each.set.key: each for each in joined(state, gateway)}
        routes = {} if gateway is None else routes_by_listener(state, gateway)
        everything = None if gateway is None else whole(state, gateway)
        for each in state.edges.sets[key]:
            here = taken.get(each.key)
            if here is None or everything is None:
                reason, _, message = refusal(gateway, each, labels_in(state)).partition(": ")
                yield SetStanding(each, False, tuple(_all(False, reason, message)), ())
            else:
                yield _standing(state, everything, here, routes, loaded, problem)


def _standing(
    state: MeshState,
    gateway: Gateway,
    joined: Joined,
    routes: dict[Place, tuple[Route, ...]],
    loaded: Loaded,
    problem: Callable[[Key], str],
) -> SetStanding:
    conflicts = dict(joined.conflicts)
    entries: list[GatewayCondition] = []
    invalid: list[str] = []
    for listener in joined.set.listeners:
        attached = routes.get(listener.place, ())
        if listener.name in conflicts:
            conflict = conflicts[listener.name]
            entries += _entry(listener, conflict.reason, str(conflict))
            entries.append(
                GatewayCondition(listener.name, "Conflicted", True, conflict.reason, str(conflict))
            )
            invalid.append(listener.name)
        elif listener.name in joined.surplus:
            entries += _entry(listener, "TooManyListeners", f"the gateway has {MOST} listeners already")
            invalid.append(listener.name)
        else:
            found = tuple(listener_conditions(state, gateway, listener, attached, loaded, problem))
            entries += found
            if any(each.type == "ResolvedRefs" and not each.status for each in found):
                invalid.append(listener.name)
    for refused in joined.set.refused:
        entries += refused_conditions(refused)
        invalid.append(refused.name)
    accepted = len(invalid) < len(joined.set.listeners) + len(joined.set.refused)
    counts = (
        *((each.name, len(routes.get(each.place, ()))) for each in joined.set.listeners),
        *((each.name, 0) for each in joined.set.refused),
    )
    conditions = (*_summary(state, gateway, accepted, invalid), *entries)
    return SetStanding(joined.set, accepted, conditions, counts)


def _summary(
    state: MeshState, gateway: Gateway, accepted: bool, invalid: list[str]
) -> Iterator[GatewayCondition]:
    wrong = f"what is wrong with {', '.join(invalid)} is said there" if invalid else ""
    if not accepted:
        yield from _all(False, NOT_VALID, f"no listener can be served: {wrong}")
        return
    yield GatewayCondition(
        "", "Accepted", True, NOT_VALID if invalid else "Accepted", wrong or f"Gateway {gateway.key} has it"
    )
    if state.edges.players.get(gateway.key):
        yield GatewayCondition("", "Programmed", True, "Programmed", wrong or "all listeners are served")
    else:
        message = f"no workload plays Gateway {gateway.key}"
        yield GatewayCondition("", "Programmed", False, "ParentNotProgrammed", message)


def _all(status: bool, reason: str, message: str) -> Iterator[GatewayCondition]:
    return (GatewayCondition("", each, status, reason, message) for each in ("Accepted", "Programmed"))


def _entry(listener: GatewayListener, reason: str, message: str) -> list[GatewayCondition]:
    return [
        GatewayCondition(listener.name, each, False, reason, message) for each in ("Accepted", "Programmed")
    ]
