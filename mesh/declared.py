"""What it changes when a document other than a service or a workload comes, goes or says something else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mesh import backend_tls
from mesh.events import Changes, DocumentName, Value
from mesh.identity import Identity
from mesh.names import Key
from mesh.policy import Policy
from mesh.routes import Route
from mesh.routing import concerned, parents
from mesh.targeting import Level, TargetRef

if TYPE_CHECKING:
    from mesh.state import MeshState


def moved(state: MeshState, name: DocumentName, value: Value | None) -> tuple[MeshState, Changes]:
    """`state` with `value` (None: nothing) under `name`. A value that differs in its origin alone is put in place, and is no change."""
    old = state.declared.get(name)
    if old == value:
        same = old is None or value is None or old.origin == value.origin
        return (state if same else _placed(state, name, old, value)), Changes()
    new = _placed(state, name, old, value)
    services: set[Key] = set()
    endpoints: set[Key] = set()
    workloads: set[Key] = set()
    for at, each in ((state, old), (new, value)):
        if each is not None:
            services.update(concerned(at.routing, each), backend_tls.targets(each))
            workloads |= at.edges.concerned(each)
    # Whose authorities are needed concerns every caller.
    callers = backend_tls.bundles(state) != backend_tls.bundles(new)
    for each in (old, value):
        if isinstance(each, Policy):
            callers = callers or bool(each.callers) or each.by_locality
            here, there = _reach(new, each.targets)
            services |= here
            workloads |= there
            if each.by_transport:
                endpoints |= _served(new, there)
    # An intersection with a map would walk all services for each document.
    known = frozenset(each for each in services if each in new.services)
    return new, Changes(
        services=known,
        # A subset has endpoints of its own; of an unchanged service they are the same bytes and go nowhere.
        endpoints=known.union(each for each in endpoints if each in new.services),
        workloads=frozenset(workloads),
        callers=callers,
    )


def _served(state: MeshState, workloads: set[Key]) -> set[Key]:
    """The services whose callers see another endpoint where `workloads` take something else."""
    return {
        service
        for each in workloads
        if (found := state.workloads.get(each)) is not None
        for service in found.services
    }


def _placed(state: MeshState, name: DocumentName, old: Value | None, value: Value | None) -> MeshState:
    """`state` and all its indices with `value` in the place of `old`."""
    policies = state.policies
    if isinstance(value, Policy):
        policies = policies.put(value)
    elif isinstance(old, Policy):
        policies = policies.without(old.name)
    return replace(
        state,
        declared=state.declared.set(name, value) if value is not None else state.declared.delete(name),
        routing=state.routing.without(old).put(value),
        edges=state.edges.without(old).put(value),
        backend_tls=backend_tls.put(backend_tls.without(state.backend_tls, old), value),
        policies=policies,
    )


def callees(old: MeshState, new: MeshState, changes: Changes) -> frozenset[Key]:
    """The workloads that `changes` concern because they enforce policies that name callers whose identities are others now.

    Who calls is told from their own policies (`PolicyIndex.facets`); who is called knows callers by their SPIFFE ids.
    """
    naming, found = new.policies.naming, set[Key]()
    if not naming:
        return frozenset()
    names: set[DocumentName] = set()
    for key in changes.services:
        of_service = naming.get(TargetRef.service(key))
        if of_service is not None and _identities(old, key) != _identities(new, key):
            names.update(of_service)
    for key in changes.workloads:
        of_workload = naming.get(TargetRef.workload(key))
        if of_workload is not None and _account(old, key) != _account(new, key):
            names.update(of_workload)
    for name in names:
        found |= _reach(new, new.policies.policies[name].targets)[1]
    return frozenset(found)


def _identities(state: MeshState, service: Key) -> tuple[Identity, ...]:
    return state.identities(service) if service in state.services else ()


def _account(state: MeshState, workload: Key) -> str | None:
    found = state.workloads.get(workload)
    return None if found is None else found.service_account


def _reach(state: MeshState, targets: Iterable[TargetRef]) -> tuple[set[Key], set[Key]]:
    """The services, as callers see them, and the workloads, as their own sidecars do, that policies of these targets may concern."""
    services: set[Key] = set()
    workloads: set[Key] = set()
    for target in targets:
        key = Key(target.namespace, target.name)
        match target.level:
            case Level.MESH:
                services.update(state.services)
                workloads.update(state.workloads)
            case Level.NAMESPACE:
                services.update(each for each in state.services if each.namespace == target.namespace)
                workloads.update(each for each in state.workloads if each.namespace == target.namespace)
                for service in services:
                    workloads.update(state.members.get(service, ()))
                # A gateway anywhere may have a route of this namespace.
                workloads |= state.edges.everyone()
            case Level.SERVICE:
                services.add(key)
                workloads.update(state.members.get(key, ()))
            case Level.WORKLOAD:
                workloads.add(key)
            case Level.ROUTE | Level.INLINE:
                route = state.declared.get((target.kind, key))
                if isinstance(route, Route):
                    services.update(parents(route))
                    workloads |= state.edges.concerned(route)
    return services, {each for each in workloads if each in state.workloads}
