"""Which TLS callers speak to backends that are not of the mesh, as BackendTLSPolicies say.

https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from immutables import Map

from mesh.external import Origination
from mesh.gateways import BackendTlsPolicy, SubjectKind, TlsTarget
from mesh.names import Key
from mesh.routes import BackendKind
from mesh.service import Service

if TYPE_CHECKING:
    from mesh.state import MeshState

Policies = Map[Key, tuple[BackendTlsPolicy, ...]]
"""By the service that they target."""
SECRET = "Secret"  # noqa: S105 (the kind of a document)


def put(policies: Policies, value: object) -> Policies:
    """With `value`, if it is such a policy."""
    if isinstance(value, BackendTlsPolicy):
        for key in targets(value):
            policies = policies.set(key, (*policies.get(key, ()), value))
    return policies


def without(policies: Policies, value: object) -> Policies:
    if isinstance(value, BackendTlsPolicy):
        for key in targets(value):
            left = tuple(each for each in policies[key] if each.key != value.key)
            policies = policies.set(key, left) if left else policies.delete(key)
    return policies


def targets(value: object) -> frozenset[Key]:
    """The services that `value` targets."""
    return (
        frozenset(each.key for each in value.targets) if isinstance(value, BackendTlsPolicy) else frozenset()
    )


def of_ports(state: MeshState, service: Service) -> tuple[tuple[int, Origination], ...]:
    """For each port of `service` that a policy targets, what is spoken to those who serve it without being of the mesh.

    A policy for one port comes before one for all, and of two for the same the older (GEP-1897, Conflict resolution).
    """
    policies = sorted(state.backend_tls.get(service.key, ()), key=_age)
    kind = BackendKind.SERVICE if service.external is None else BackendKind.EXTERNAL
    found = []
    for port in service.ports:
        for section in (port.name, None):
            target = TlsTarget(kind, service.key, section)
            chosen = next((each for each in policies if target in each.targets), None)
            if chosen is not None:
                found.append((port.port, _origination(chosen)))
                break
    return tuple(found)


def authorities(state: MeshState) -> tuple[Key, ...]:
    """The Secret documents whose authorities callers need, sorted."""
    every: Iterable[BackendTlsPolicy] = (each for some in state.backend_tls.values() for each in some)
    return tuple(sorted({key for each in every for key in _secrets(each)}))


def _origination(policy: BackendTlsPolicy) -> Origination:
    def named(kind: SubjectKind) -> tuple[str, ...]:
        return tuple(each.value for each in policy.names if each.kind is kind)

    return Origination(
        policy.hostname,
        named(SubjectKind.HOSTNAME),
        named(SubjectKind.URI),
        authorities=None if policy.authorities is None else _secrets(policy),
    )


def _secrets(policy: BackendTlsPolicy) -> tuple[Key, ...]:
    return tuple(each.key for each in policy.authorities or () if each.kind == SECRET)


def _age(policy: BackendTlsPolicy) -> tuple[bool, float, Key]:
    """The oldest first; those without a time of creation last."""
    created = policy.created
    return created is None, 0.0 if created is None else created.timestamp(), policy.key
