"""Which of the policies for some callers only can matter to a caller: proxies that differ in others share what they are given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mesh.names import Key
from mesh.routes import Route
from mesh.routing import parents
from mesh.state import MeshState
from mesh.targeting import Level, TargetRef
from mesh.views import OutboundScope


def of_kinds(scope: OutboundScope, kinds: frozenset[str]) -> OutboundScope:
    """`scope` with facets of `kinds` only: those that callers enforce."""
    return replace(scope, facets=frozenset(name for name in scope.facets if name[0] in kinds))


def that_matter(state: MeshState, scope: OutboundScope, kinds: frozenset[str]) -> OutboundScope:
    """`scope` with those facets of `kinds` whose targets touch its services.

    What is said of the whole mesh or of a namespace always may; of a route, what is said of one attached to such a service. What is said of a
    workload is enforced by that workload, not by its callers.
    """
    scope = of_kinds(scope, kinds)
    if not scope.facets:
        return scope
    services = None if scope.services is None else frozenset(scope.services)
    kept = (name for name in scope.facets if _touch(state, state.policies.policies[name].targets, services))
    return replace(scope, facets=frozenset(kept))


def _touch(state: MeshState, targets: Iterable[TargetRef], services: frozenset[Key] | None) -> bool:
    for target in targets:
        key = Key(target.namespace, target.name)
        match target.level:
            case Level.MESH | Level.NAMESPACE:
                return True
            case Level.SERVICE if services is None or key in services:
                return True
            case Level.ROUTE | Level.INLINE:
                route = state.declared.get((target.kind, key))
                if isinstance(route, Route) and (services is None or not services.isdisjoint(parents(route))):
                    return True
            case _:
                pass
    return False
