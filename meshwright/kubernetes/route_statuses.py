"""The statuses of routes, at each of their parents, and of BackendTLSPolicies, at each gateway that follows them. Pure.

https://gateway-api.sigs.k8s.io/reference/spec/: RouteStatus, PolicyStatus. What other controllers say there is theirs, and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from documents.gateway_api.common import GROUP
from documents.reading import Tree
from mesh.backend_tls_conditions import PolicyCondition, backend_tls_conditions, backend_tls_policies
from mesh.conditions import gateways, route_conditions, routes_by_listener
from mesh.gateways import BackendTlsPolicy, ListenerSet
from mesh.names import Key
from mesh.references import Condition
from mesh.routes import ParentKind, ParentRef
from mesh.state import MeshState
from meshwright.kubernetes.conditions import Wished, conditions
from meshwright.kubernetes.gateway_statuses import Facts, Objects, WishedStatus, of_kinds
from store.kubernetes_kinds import CONTROLLER
from store.kubernetes_objects import ClusterObject

ROUTES: Final = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
MOST_ANCESTORS: Final = 16
"""As many as the schema of a policy's status takes."""


def route_statuses(state: MeshState, objects: Objects, facts: Facts, now: str) -> Iterator[WishedStatus]:
    """Of every route that has a parent of ours, or had."""
    seen = set()
    for route, told in route_conditions(state):
        name = (route.kind.value, route.key)
        found = objects.get(name)
        if found is None or name in facts.invalid:
            continue
        seen.add(name)
        yield from _if_any(found, "parents", _parents(state, found, told, now))
    for name, wrong in sorted(facts.invalid.items()):
        found = objects.get(name)
        if found is not None and name[0] in ROUTES:
            seen.add(name)
            yield from _if_any(found, "parents", _invalid(state, found, wrong, now))
    for found in of_kinds(objects, *ROUTES):
        # One that has nothing to do with us any more.
        if found.name not in seen:
            yield from _if_any(found, "parents", [])


def _parents(
    state: MeshState, found: ClusterObject, told: Iterable[Condition], now: str
) -> list[dict[str, Any]]:
    by: dict[ParentRef, list[Wished]] = {}
    for each in told:
        by.setdefault(each.parent, []).append(Wished(each.type.value, each.status, each.reason, each.message))
    return [
        _entry(found, "parentRef", raw, "parents", by[parent], now)
        for raw, parent in _parent_refs(found)
        if parent in by and _is_ours(state, parent)
    ]


def _invalid(state: MeshState, found: ClusterObject, wrong: str, now: str) -> list[dict[str, Any]]:
    wished = (Wished("Accepted", False, "UnsupportedValue", wrong),)
    return [
        _entry(found, "parentRef", raw, "parents", wished, now)
        for raw, parent in _parent_refs(found)
        if _is_ours(state, parent)
    ]


def backend_tls_statuses(
    state: MeshState, objects: Objects, facts: Facts, now: str
) -> Iterator[WishedStatus]:
    followers = _followers(state)
    seen = set()
    for policy in backend_tls_policies(state):
        found = objects.get(("BackendTLSPolicy", policy.key))
        if found is None or found.name in facts.invalid:
            continue
        seen.add(policy.key)
        wished = _of_policy(backend_tls_conditions(state, policy, facts.loaded, facts.problem))
        entries = [
            _entry(found, "ancestorRef", raw, "ancestors", wished, now)
            for raw in _ancestors(policy, followers)[:MOST_ANCESTORS]
        ]
        yield from _if_any(found, "ancestors", entries)
    for found in of_kinds(objects, "BackendTLSPolicy"):
        if found.key not in seen:
            wrong = facts.invalid.get(found.name)
            refused = () if wrong is None else (Wished("Accepted", False, "Invalid", wrong),)
            entries = [
                _entry(found, "ancestorRef", raw, "ancestors", refused, now)
                for raw in (_targets(found) if refused else ())
            ]
            yield from _if_any(found, "ancestors", entries)


def _targets(found: ClusterObject) -> list[dict[str, Any]]:
    """What the object of a policy targets, as references to ancestors: of one that was not read nothing else is known."""
    spec = found.tree.get("spec")
    listed = spec.get("targetRefs") if isinstance(spec, dict) else None
    return [
        {**each, "namespace": found.key.namespace}
        for each in (listed if isinstance(listed, list) else ())[:MOST_ANCESTORS]
        if isinstance(each, dict)
    ]


def _of_policy(told: Iterable[PolicyCondition]) -> tuple[Wished, ...]:
    """Of all its targets together: it is accepted as long as it holds for one of them."""
    by: dict[str, list[PolicyCondition]] = {}
    for each in told:
        by.setdefault(each.type, []).append(each)
    made = []
    for kind, several in by.items():
        good = [each for each in several if each.status]
        first = (good or several)[0]
        bad = [f"{each.target}: {each.message}" for each in several if not each.status]
        message = "; ".join(bad) if bad and (len(several) > 1) else first.message
        made.append(Wished(kind, first.status, first.reason, message))
    return tuple(made)


def _followers(state: MeshState) -> dict[Key, list[Key]]:
    """By service, the gateways that have a route which leads there."""
    found: dict[Key, list[Key]] = {}
    for gateway in gateways(state):
        routes = {
            (route.kind, route.key): route
            for several in routes_by_listener(state, gateway).values()
            for route in several
        }
        services = {backend.key for route in routes.values() for backend in route.backends()}
        for service in services:
            found.setdefault(service, []).append(gateway.key)
    return found


def _ancestors(policy: BackendTlsPolicy, followers: Mapping[Key, list[Key]]) -> list[dict[str, Any]]:
    """The gateways that the policy matters to (GEP-713); where there are none, what it targets: callers in the mesh follow it too."""
    reached = dict.fromkeys(each for target in policy.targets for each in followers.get(target.key, ()))
    if reached:
        return [
            {"group": GROUP, "kind": "Gateway", "namespace": each.namespace, "name": each.name}
            for each in sorted(reached)
        ]
    return [
        {
            "group": "" if target.kind.value == "Service" else "meshwright.dev",
            "kind": target.kind.value,
            "namespace": target.key.namespace,
            "name": target.key.name,
            **({} if target.section is None else {"sectionName": target.section}),
        }
        for target in policy.targets
    ]


def _is_ours(state: MeshState, parent: ParentRef) -> bool:
    """Whether it is for us to say whether `parent` takes a route."""
    match parent.kind:
        case ParentKind.SERVICE:
            return True
        case ParentKind.GATEWAY:
            return ("Gateway", parent.key) in state.declared
        case ParentKind.LISTENER_SET:
            found = state.declared.get(("ListenerSet", parent.key))
            return isinstance(found, ListenerSet) and ("Gateway", found.parent) in state.declared


def _parent_refs(found: ClusterObject) -> Iterator[tuple[Mapping[str, Tree], ParentRef]]:
    """The parents of a route's object, as they stand there and as they are meant; those of kinds that we do not know are left out."""
    spec = found.tree.get("spec")
    listed = spec.get("parentRefs") if isinstance(spec, dict) else None
    for raw in listed if isinstance(listed, list) else ():
        if not isinstance(raw, dict):
            continue
        kind, name, namespace = raw.get("kind") or "Gateway", raw.get("name"), raw.get("namespace")
        if kind not in set(ParentKind) or not isinstance(name, str):
            continue
        port, section = raw.get("port"), raw.get("sectionName")
        yield (
            raw,
            ParentRef(
                ParentKind(str(kind)),
                Key(namespace if isinstance(namespace, str) else found.key.namespace, name),
                port if isinstance(port, int) else None,
                section if isinstance(section, str) else None,
            ),
        )


def _entry(
    found: ClusterObject,
    field: str,
    reference: Mapping[str, Tree],
    listed: str,
    wished: Iterable[Wished],
    now: str,
) -> dict[str, Any]:
    before = next(
        (
            each
            for each in _listed(found, listed)
            if each.get("controllerName") == CONTROLLER and each.get(field) == dict(reference)
        ),
        {},
    )
    return {
        field: dict(reference),
        "controllerName": CONTROLLER,
        "conditions": conditions(wished, before.get("conditions"), found.generation, now),
    }


def _if_any(found: ClusterObject, field: str, own: list[dict[str, Any]]) -> Iterator[WishedStatus]:
    """`own` beside what other controllers say; nothing where nobody says anything, nor has."""
    before = _listed(found, field)
    others = [dict(each) for each in before if each.get("controllerName") != CONTROLLER]
    if own or before:
        yield found, {field: [*others, *own]}


def _listed(found: ClusterObject, field: str) -> list[Mapping[str, Tree]]:
    listed = found.status.get(field)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
