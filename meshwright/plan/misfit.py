"""Policies about requests for services that take none. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from documents.parsing import Document
from envoy.seams import NOTHING, Parts
from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.service import Service
from mesh.state import MeshState
from mesh.targeting import Level
from meshwright.plan.caveats import Caveat, Sort
from policies.kind import PolicyKind, Side, Where
from policies.registry import POLICIES

SIDES = (Side.CALLER, Side.CALLEE)


def misfits(state: MeshState, document: Document) -> Iterator[Caveat]:
    """A caveat for each service that the policy targets, of which no port takes HTTP though all that it says is about requests."""
    policy = document.value
    kind = next((each for each in POLICIES if each.name == document.kind), None)
    # What several say together is told by their own notes.
    if not isinstance(policy, Policy) or kind is None or kind.union or kind.together is not None:
        return
    for target in policy.targets:
        service = state.services.get(Key(target.namespace, target.name))
        if target.level is not Level.SERVICE or service is None or not service.ports:
            continue
        if any(port.protocol.is_http for port in service.ports):
            continue
        if _about_requests(kind, policy, state, service):
            ports = ", ".join(f"{port.name} at {port.port} ({port.protocol})" for port in service.ports)
            text = f"no effect at {target}: it says what is done with requests, and no port takes HTTP: it has {ports}"
            yield Caveat(Sort.NO_EFFECT, f"{document.kind} {document.key}", text)


def _about_requests(kind: PolicyKind, policy: Policy, state: MeshState, service: Service) -> bool:
    try:
        fields = kind.fields.model_validate(thawed(policy.fields))
        said = [
            kind.effect(
                fields, Where(side, state.trust_domain, service.key, port=port.port, protocol=port.protocol)
            )
            for side in SIDES
            if side in kind.side
            for port in service.ports
        ]
    except Exception:  # noqa: BLE001 (what cannot be said at a place is told by who renders it; a warning less must end no plan)
        return False
    return all(_for_requests(each) for each in said)


def _for_requests(parts: Parts) -> bool:
    """Whether nothing is left without what only an HTTP connection manager and its routes heed."""
    left = replace(
        parts,
        http=b"",
        action=b"",
        route=b"",
        manager=b"",
        http_filters=(),
        unknown=b"",
        resources=(),
        called=(),
        origin=(),
    )
    return left == NOTHING
