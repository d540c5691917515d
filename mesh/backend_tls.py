"""Which TLS callers speak to backends that are not of the mesh, as BackendTLSPolicies say.

https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from immutables import Map

from mesh.age import seniority
from mesh.external import Origination
from mesh.gateway_references import Role, known
from mesh.gateways import BackendTlsPolicy, ObjectRef, SubjectKind, TlsTarget
from mesh.names import Key
from mesh.routes import BackendKind
from mesh.secrets import Bundle
from mesh.service import Protocol, Service, ServicePort

if TYPE_CHECKING:
    from mesh.state import MeshState

Policies = Map[Key, tuple[BackendTlsPolicy, ...]]
"""By the service that they target."""


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


def of_ports(
    state: MeshState, service: Service, certificate: Key | None = None, *, edge: bool = False
) -> tuple[tuple[int, Origination], ...]:
    """For each port of `service` that a policy targets, what is spoken to those who serve it without being of the mesh.

    `certificate`: what the caller shows, of a Secret document. `edge`: the caller is a gateway, where requests end that had TLS of their
    own; of others in the mesh, ports of protocol TLS are not touched, for the application speaks TLS itself.
    """
    return tuple(
        (port.port, _origination(chosen, certificate))
        for port in service.ports
        if (edge or service.external is not None or port.protocol is not Protocol.TLS)
        and (chosen := of_port(state, service, port)) is not None
    )


def of_port(state: MeshState, service: Service, port: ServicePort) -> BackendTlsPolicy | None:
    """The policy that holds for `port`: one for this port comes before one for all, and of two for the same the older (GEP-1897, Conflict
    resolution).
    """
    targets = (TlsTarget(kind_of(service), service.key, section) for section in (port.name, None))
    return next((chosen for each in targets if (chosen := holder(state, each)) is not None), None)


def holder(state: MeshState, target: TlsTarget) -> BackendTlsPolicy | None:
    """The policy that holds for `target`: the oldest that names it."""
    policies = (each for each in state.backend_tls.get(target.key, ()) if target in each.targets)
    return min(policies, key=_age, default=None)


def kind_of(service: Service) -> BackendKind:
    """As what a policy has to name `service`."""
    return BackendKind.SERVICE if service.external is None else BackendKind.EXTERNAL


def bundles(state: MeshState) -> tuple[Bundle, ...]:
    """The Secret documents whose authorities callers need, sorted, each once."""
    every: Iterable[BackendTlsPolicy] = (each for some in state.backend_tls.values() for each in some)
    return tuple(sorted({_bundle(each.authorities) for each in every if each.authorities is not None}))


def _origination(policy: BackendTlsPolicy, certificate: Key | None) -> Origination:
    def named(kind: SubjectKind) -> tuple[str, ...]:
        return tuple(each.value for each in policy.names if each.kind is kind)

    return Origination(
        policy.hostname,
        named(SubjectKind.HOSTNAME),
        named(SubjectKind.URI),
        authorities=None if policy.authorities is None else _bundle(policy.authorities),
        certificate=certificate,
    )


def _bundle(authorities: tuple[ObjectRef, ...]) -> Bundle:
    """What is of a kind that holds no authorities is left out: it must not stand for one of the same name that does."""
    return tuple(sorted({each.key for each in authorities if known(Role.AUTHORITY, each)}))


def _age(policy: BackendTlsPolicy) -> tuple[tuple[int, float], Key]:
    return seniority(policy.created), policy.key
