"""What the mesh says of single documents: whether they are in force, their conditions, and what of them has no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from api.shapes.status import ConditionStatus
from documents.kinds import SERVICE, WORKLOAD
from documents.reading import Tree
from documents.sets import DocumentSet
from mesh.events import DocumentName
from mesh.policy import Policy
from mesh.state import MeshState
from meshwright.certificates import Certificates
from meshwright.gateway_status import (
    backend_tls_statuses,
    gateway_statuses,
    listener_set_statuses,
    route_statuses,
)
from meshwright.quarantine.book import Told
from meshwright.quarantine.telling import sentence
from policies.effects import Merges, notes
from store.sets import file_of

ROUTES = frozenset({"HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"})


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """`api.showing.Conditions`. `stored`: the documents of the store as they were read last."""

    state: Callable[[], MeshState]
    certificates: Certificates
    stored: Callable[[], DocumentSet]
    quarantined: Callable[[DocumentName], tuple[Told, ...]] = lambda _: ()
    rolling: Callable[[DocumentName], str | None] = lambda _: None

    def __call__(self, names: Iterable[DocumentName]) -> Mapping[DocumentName, dict[str, Tree]]:
        wanted = tuple(names)
        state, stored = self.state(), self.stored()
        conditions = self._conditions(state, {kind for kind, _ in wanted})
        merges: Merges = {}
        found: dict[DocumentName, dict[str, Tree]] = {}
        for name in wanted:
            said: dict[str, Tree] = {"origin": list(origin(state, name))}
            if told := conditions.get(f"{name[0]} {name[1]}"):
                said["conditions"] = [_shown(each) for each in told]
            policy = state.declared.get(name)
            if isinstance(policy, Policy) and (idle := list(notes(state, policy, merges=merges))):
                said["notes"] = [*idle]
            file = stored.files.get(file_of(name))
            if file is not None and file.errors:
                said["errors"] = [str(each) for each in file.errors]
            if aside := self.quarantined(name):
                said["quarantined"] = [sentence(each) for each in aside]
                if any(
                    each.case.for_all for each in aside
                ):  # what one proxy refuses says nothing of the others
                    said["inForce"] = False
            if on_its_way := self.rolling(name):
                said["rollout"] = on_its_way
            found[name] = said
        return found

    def _conditions(self, state: MeshState, kinds: set[str]) -> dict[str, tuple[ConditionStatus, ...]]:
        """By `<kind> <namespace>/<name>`, of documents of `kinds` alone: to reckon all takes its time."""
        found: dict[str, tuple[ConditionStatus, ...]] = {}
        if kinds & ROUTES:
            found |= {each.route: each.conditions for each in route_statuses(state)}
        if "Gateway" in kinds:
            gateways = gateway_statuses(state, self.certificates)
            found |= {f"Gateway {each.gateway}": each.conditions for each in gateways}
        if "ListenerSet" in kinds:
            sets = listener_set_statuses(state, self.certificates)
            found |= {f"ListenerSet {each.listener_set}": each.conditions for each in sets}
        if "BackendTLSPolicy" in kinds:
            tls = backend_tls_statuses(state, self.certificates)
            found |= {f"BackendTLSPolicy {each.policy}": each.conditions for each in tls}
        return found


def origin(state: MeshState, name: DocumentName) -> tuple[str, ...]:
    """Where what is in force by that name comes from; empty: nothing is."""
    kind, key = name
    if kind in {SERVICE.name, "ExternalService"}:
        service = state.services.get(key)
        return service.origin if service is not None else ()
    if kind == WORKLOAD.name:
        workload = state.workloads.get(key)
        return workload.origin if workload is not None else ()
    value = state.declared.get(name)
    return value.origin if value is not None else ()


def _shown(condition: ConditionStatus) -> Tree:
    """As a Kubernetes resource has it, and `at`: of what part."""
    return {
        "at": condition.at,
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason,
        "message": condition.message,
    }
