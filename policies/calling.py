"""Services that sidecars ask for what policies say of routes: a workload need not say that it uses them."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.seams import Called
from mesh.policy import Place
from mesh.state import MeshState
from mesh.targeting import RouteName, TargetRef
from mesh.views import OutboundScope
from policies.kind import PolicyKind
from policies.registry import POLICIES


def called_for_routes(
    state: MeshState, scope: OutboundScope, kinds: Iterable[PolicyKind] = POLICIES
) -> frozenset[Called]:
    """What callers of `scope` ask who follow the routes of its services; nothing where they reach every service anyway."""
    found: set[Called] = set()
    asking = [kind for kind in kinds if kind.calls is not None]
    for service in scope.services or ():
        for route in state.routing.attached.get(service, ()):
            name = RouteName(route.kind.value, route.key)
            for kind in asking:
                if kind.calls is None or not state.policies.attached.get((kind.name, TargetRef.route(name))):
                    continue
                place = Place(service.namespace, service, route=name)
                found.update(kind.calls(state.policies.merged(kind.name, place, scope.facets).fields))
    return frozenset(found)
