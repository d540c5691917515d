"""The statuses of GatewayClasses, Gateways and ListenerSets: from the state of the mesh to what is to stand in the objects. Pure.

https://gateway-api.sigs.k8s.io/reference/spec/: GatewayClassStatus, GatewayStatus, ListenerSetStatus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from documents.gateway_api.common import GROUP
from documents.reading import Tree
from mesh.conditions import GatewayCondition, gateway_conditions, gateways, routes_by_listener
from mesh.gateway_secrets import Loaded
from mesh.gateways import Gateway, GatewayListener, RefusedListener
from mesh.listener_set_conditions import SetStanding, standings
from mesh.names import Key, is_address
from mesh.state import MeshState
from meshwright.kubernetes.conditions import Wished, conditions
from meshwright.kubernetes.features import SUPPORTED
from store.kubernetes_kinds import CONTROLLER
from store.kubernetes_objects import ClusterObject
from store.stored import Name

TAKEN: Final = "its pods are ready, and its proxies at the leading replica have taken its configuration"
NOT_REACHED: Final = "no address was given to its Service yet"


@dataclass(frozen=True, slots=True)
class Made:
    """How far what is made for a Gateway is. `addresses`: by which its Service is reached. `problem`: why it cannot be made as it is asked for,
    with a reason of the Gateway API's in front; empty: it can. `ready`: one of its proxies has taken its configuration.
    """

    addresses: tuple[str, ...] = ()
    problem: str = ""
    ready: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the state of the mesh does not say. `problem`: what is wrong with a Secret or a ConfigMap, empty if nothing is. `refused`: by
    workload, what its proxy says of listeners that it does not take. `made`: by gateway. `invalid`: what is wrong with objects that were not
    read, by name. `classes`: what is wrong with the parameters of a GatewayClass of ours.
    """

    loaded: Loaded
    problem: Callable[[Key], str]
    refused: Mapping[Key, str] = field(default_factory=dict)
    made: Mapping[Key, Made] = field(default_factory=dict)
    invalid: Mapping[Name, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)


Objects = Mapping[Name, ClusterObject]
Declared = GatewayListener | RefusedListener
Status = dict[str, Any]
WishedStatus = tuple[ClusterObject, Status]


def class_statuses(objects: Objects, facts: Facts, now: str) -> Iterator[WishedStatus]:
    """Of the GatewayClasses that name us as their controller."""
    for found in of_kinds(objects, "GatewayClass"):
        if not is_ours(found):
            continue
        wrong = facts.classes.get(found.key.name, "")
        accepted = Wished(
            "Accepted",
            not wrong,
            "InvalidParameters" if wrong else "Accepted",
            wrong or "Meshwright runs the Gateways of this class",
        )
        version = Wished("SupportedVersion", True, "SupportedVersion", "Gateway API v1.6 is served")
        yield (
            found,
            {
                "conditions": conditions(
                    (accepted, version), found.status.get("conditions"), found.generation, now
                ),
                "supportedFeatures": [{"name": each} for each in SUPPORTED],
            },
        )


def of_kinds(objects: Objects, *kinds: str) -> list[ClusterObject]:
    """Those of `kinds`, by kind and key: of many objects, few are sorted."""
    return sorted((each for (kind, _), each in objects.items() if kind in kinds), key=lambda each: each.name)


def is_ours(gateway_class: ClusterObject) -> bool:
    spec = gateway_class.tree.get("spec")
    return isinstance(spec, dict) and spec.get("controllerName") == CONTROLLER


def gateway_statuses(state: MeshState, objects: Objects, facts: Facts, now: str) -> Iterator[WishedStatus]:
    sets = tuple(standings(state, facts.loaded, facts.problem))
    not_programmed: dict[Key, str] = {}
    for gateway in gateways(state):
        told = gateway_told(state, gateway, facts)
        not_programmed[gateway.key] = _not_programmed(told)
        found = objects.get(("Gateway", gateway.key))
        if found is not None and found.name not in facts.invalid:
            attached = sum(each.accepted for each in sets if each.set.parent == gateway.key)
            yield found, _gateway(state, gateway, found, told, facts, attached, now)
    for standing in sets:
        found = objects.get(("ListenerSet", standing.set.key))
        # What belongs to a Gateway that is not ours is told by whoever runs that.
        ours = ("Gateway", standing.set.parent) in state.declared
        if found is not None and ours and found.name not in facts.invalid:
            yield found, _listener_set(standing, found, not_programmed[standing.set.parent], now)
    for name, wrong in sorted(facts.invalid.items()):
        found = objects.get(name)
        if found is not None and name[0] in {"Gateway", "ListenerSet"}:
            wished = (Wished(each, False, "Invalid", wrong) for each in ("Accepted", "Programmed"))
            yield (
                found,
                {"conditions": conditions(wished, found.status.get("conditions"), found.generation, now)},
            )


def gateway_told(state: MeshState, gateway: Gateway, facts: Facts) -> tuple[GatewayCondition, ...]:
    """The conditions of `gateway` and of its listeners, with what is known of what was made for it."""
    told = gateway_conditions(state, gateway, facts.loaded, facts.problem, facts.refused)
    return tuple(_with_made(each, told, facts.made.get(gateway.key, Made())) for each in told)


def _not_programmed(told: Iterable[GatewayCondition]) -> str:
    """Why a Gateway of which this is told is not programmed; empty if it is."""
    here = next(each for each in told if each.type == "Programmed" and not each.listener)
    return "" if here.status else here.message


def _with_made(condition: GatewayCondition, told: Iterable[GatewayCondition], made: Made) -> GatewayCondition:
    if condition.listener or condition.type not in {"Accepted", "Programmed"}:
        return condition
    reason, _, message = made.problem.partition(": ")
    refused = reason == "InvalidParameters"
    if condition.type == "Accepted":
        if refused and condition.status:
            return replace(condition, status=False, reason=reason, message=message)
        return condition
    accepted = next(each for each in told if each.type == "Accepted" and not each.listener)
    if not accepted.status or refused:
        why = message if refused else accepted.message
        return replace(condition, status=False, reason="Invalid", message=why)
    if made.problem:
        return replace(condition, status=False, reason=reason, message=message)
    if not condition.status:
        if condition.reason == "Pending":
            return replace(condition, message="no proxy of it has come yet")
        return condition
    if not made.ready:
        why = "no proxy of it has taken its configuration yet"
        return replace(condition, status=False, reason="Pending", message=why)
    if not made.addresses:
        return replace(condition, status=False, reason="AddressNotAssigned", message=NOT_REACHED)
    # Not which: that would be written anew whenever a pod comes or goes.
    return replace(condition, message=TAKEN)


def _gateway(
    state: MeshState,
    gateway: Gateway,
    found: ClusterObject,
    told: tuple[GatewayCondition, ...],
    facts: Facts,
    attached: int,
    now: str,
) -> Status:
    routes = routes_by_listener(state, gateway)
    whole = [_wished(each) for each in told if not each.listener]
    if not any(each.type == "ResolvedRefs" for each in whole):
        whole.append(Wished("ResolvedRefs", True, "ResolvedRefs", "all references hold"))
    made = facts.made.get(gateway.key, Made())
    listeners: tuple[Declared, ...] = (*gateway.listeners, *gateway.refused)
    entries = [
        _entry(
            each,
            told,
            len(routes.get(each.place, ())) if isinstance(each, GatewayListener) else 0,
            found,
            now,
        )
        for each in sorted(listeners, key=_order(found))
    ]
    return {
        # Told when somebody answers there, and then for good: whoever makes DNS records of them must not take them away for a while.
        "addresses": [
            _address(each) for each in made.addresses if made.ready or found.status.get("addresses")
        ],
        "conditions": conditions(whole, found.status.get("conditions"), found.generation, now),
        "listeners": entries,
        "attachedListenerSets": attached,
    }


def _listener_set(standing: SetStanding, found: ClusterObject, not_programmed: str, now: str) -> Status:
    told, routes = standing.conditions, dict(standing.routes)
    whole = [_wished(each) for each in told if not each.listener]
    if standing.accepted and not_programmed:
        whole = [
            Wished("Programmed", False, "Pending", f"its Gateway is not: {not_programmed}")
            if each.type == "Programmed" and each.status
            else each
            for each in whole
        ]
    listeners: tuple[Declared, ...] = (*standing.set.listeners, *standing.set.refused)
    # Of a set that no gateway has, nothing is known of its listeners.
    entries = [
        _entry(each, told, routes.get(each.name, 0), found, now)
        for each in sorted(listeners, key=_order(found))
        if any(one.listener == each.name for one in told)
    ]
    return {
        "conditions": conditions(whole, found.status.get("conditions"), found.generation, now),
        "listeners": entries,
    }


def _entry(
    listener: Declared,
    told: Iterable[GatewayCondition],
    routes: int,
    found: ClusterObject,
    now: str,
) -> Status:
    # That one port follows one TCPRoute alone is said by the message of Programmed; a conflict is one of listeners.
    wished = {
        each.type: _wished(each)
        for each in told
        if each.listener == listener.name and each.reason != "RouteConflict"
    }
    wished.setdefault(
        "Conflicted", Wished("Conflicted", False, "NoConflicts", "no other listener is in its way")
    )
    wished.setdefault("ResolvedRefs", Wished("ResolvedRefs", True, "ResolvedRefs", "all references hold"))
    kinds = listener.allowed.kinds if isinstance(listener, GatewayListener) else ()
    before = _named(found.status.get("listeners"), listener.name)
    return {
        "name": listener.name,
        "supportedKinds": [{"group": GROUP, "kind": each.value} for each in kinds],
        "attachedRoutes": routes,
        "conditions": conditions(
            (wished[each] for each in sorted(wished)), before.get("conditions"), found.generation, now
        ),
    }


def _wished(condition: GatewayCondition) -> Wished:
    return Wished(condition.type, condition.status, condition.reason, condition.message)


def _order(found: ClusterObject) -> Callable[[Declared], int]:
    """As the object has them, whatever became of each."""
    spec = found.tree.get("spec")
    listed = spec.get("listeners") if isinstance(spec, dict) else None
    names = (
        [each.get("name") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    place = {str(name): number for number, name in enumerate(names)}
    return lambda each: place.get(each.name, len(place))


def _named(listed: Tree | None, name: str) -> Mapping[str, Tree]:
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("name") == name:
            return each
    return {}


def _address(text: str) -> dict[str, str]:
    return {"type": "IPAddress" if is_address(text) else "Hostname", "value": text}
