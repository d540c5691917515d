"""Endpoints that callers reach by their own addresses: those of headless services.

A name of such a service leads, in Kubernetes' DNS, to the addresses of its pods, and that of one of its pods to that pod
(https://kubernetes.io/docs/concepts/services-networking/service/#headless-services). A caller has chosen one of them, then, and
nobody chooses another for it. The whole inputs of rendering, as in `mesh.views`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mesh.identity import Identity
from mesh.names import Key
from mesh.service import Protocol, ServicePort
from mesh.workload import Endpoint, Health, endpoint

if TYPE_CHECKING:
    from mesh.state import MeshState

Called = Callable[[tuple[Endpoint, ...], ServicePort], tuple[Endpoint, ...]]
"""See `mesh.views.Called`."""


@dataclass(frozen=True, slots=True)
class DirectView:
    """`address` and `number` of an endpoint with a sidecar, which serves `port` of `service` as `account`; None: as somebody who may
    not serve it.
    """

    service: Key
    port: ServicePort
    address: str
    number: int
    account: str | None
    origin: tuple[str, ...] = field(default=(), compare=False)


def accounts(state: MeshState, service: Key) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The service accounts that may serve `service`, sorted, each with the SPIFFE ids that it may have; none if it is not headless."""
    found = state.services[service]
    if not found.headless or found.external is not None:
        return ()
    return tuple(
        (
            account,
            tuple(sorted(Identity(each, service.namespace, account).uri for each in state.trust_domains.all)),
        )
        for account in _accounts(state, service)
    )


def direct_views(state: MeshState, service: Key, called: Called | None = None) -> tuple[DirectView, ...]:
    """One for each address and port, in the order of ports and workloads; none if `service` is not headless. `called` as in
    `mesh.views.endpoints_views`: whoever is called in plaintext needs nothing, for such a call goes where it was going.

    Who is not ready is among them: its name may still lead there, and callers that were connected before it was not ready stay so.
    """
    found = state.services[service]
    if not found.headless or found.external is not None:
        return ()
    known = frozenset(_accounts(state, service))
    made: dict[tuple[str, int], DirectView] = {}
    for port in found.ports:
        if port.protocol is Protocol.UDP:
            continue
        # An address that went from one instance to another: that of the one which serves.
        for each in sorted(_endpoints(state, service, port, called), key=_is_critical):
            if each.meshed and (each.address, each.port) not in made and each.address not in state.addresses:
                account = each.service_account if each.service_account in known else None
                made[each.address, each.port] = DirectView(
                    service, port, each.address, each.port, account, found.origin
                )
    return tuple(made.values())


def _accounts(state: MeshState, service: Key) -> tuple[str, ...]:
    """Those that `MeshState.identities` goes by, so that whatever changes these is a change of the service."""
    of_workloads = frozenset(state.accounts.get(service, ()))
    identities = state.services[service].identities(state.trust_domain, of_workloads)
    return tuple(sorted(each.service_account for each in identities))


def _endpoints(
    state: MeshState, service: Key, port: ServicePort, called: Called | None
) -> tuple[Endpoint, ...]:
    found = (endpoint(state.workloads[each], service, port) for each in state.members.get(service, ()))
    endpoints = tuple(each for each in found if each is not None)
    return endpoints if called is None else called(endpoints, port)


def _is_critical(each: Endpoint) -> bool:
    return each.health is Health.CRITICAL
