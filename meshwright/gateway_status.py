"""What status tells of routes, gateways, their sets of listeners, and TLS to backends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from api.shapes.status import BackendTlsStatus, ConditionStatus, GatewayStatus, ListenerSetStatus, RouteStatus
from mesh.backend_tls_conditions import backend_tls_conditions, backend_tls_policies
from mesh.conditions import (
    NOTHING_REFUSED,
    GatewayCondition,
    gateway_conditions,
    gateways,
    route_conditions,
    routes_by_listener,
)
from mesh.gateways import Gateway
from mesh.listener_set_conditions import standings
from mesh.names import Key
from mesh.state import MeshState
from meshwright.certificates import Certificates


def route_statuses(state: MeshState) -> Iterator[RouteStatus]:
    for route, conditions in route_conditions(state):
        yield RouteStatus(
            route=f"{route.kind} {route.key}",
            conditions=tuple(
                ConditionStatus(
                    at=str(each.parent),
                    type=each.type.value,
                    status=each.status,
                    reason=each.reason,
                    message=each.message,
                )
                for each in conditions
            ),
            origin=route.origin,
        )


def gateway_statuses(
    state: MeshState, certificates: Certificates, refused: Mapping[Key, str] = NOTHING_REFUSED
) -> Iterator[GatewayStatus]:
    """`refused`: by workload, what its proxy says of listeners that it does not take."""
    accepted = [
        each.set.parent
        for each in standings(state, certificates.loaded, certificates.problem)
        if each.accepted
    ]
    for gateway in gateways(state):
        conditions = gateway_conditions(state, gateway, certificates.loaded, certificates.problem, refused)
        routes = routes_by_listener(state, gateway)
        yield GatewayStatus(
            gateway=str(gateway.key),
            workloads=tuple(map(str, state.edges.players.get(gateway.key, ()))),
            conditions=_conditions(conditions),
            origin=gateway.origin,
            attached_routes={each.name: len(routes.get(each.place, ())) for each in gateway.listeners},
            attached_listener_sets=accepted.count(gateway.key),
            addresses=gateway.addresses or _own_addresses(state, gateway),
        )


def _own_addresses(state: MeshState, gateway: Gateway) -> tuple[str, ...]:
    players = (state.workloads.get(key) for key in state.edges.players.get(gateway.key, ()))
    return tuple(dict.fromkeys(each.address for each in players if each is not None))


def listener_set_statuses(state: MeshState, certificates: Certificates) -> Iterator[ListenerSetStatus]:
    for each in standings(state, certificates.loaded, certificates.problem):
        yield ListenerSetStatus(
            listener_set=str(each.set.key),
            gateway=str(each.set.parent),
            conditions=_conditions(each.conditions),
            origin=each.set.origin,
            attached_routes=dict(each.routes),
        )


def backend_tls_statuses(state: MeshState, certificates: Certificates) -> Iterator[BackendTlsStatus]:
    for policy in backend_tls_policies(state):
        found = backend_tls_conditions(state, policy, certificates.loaded, certificates.problem)
        yield BackendTlsStatus(
            policy=str(policy.key),
            conditions=tuple(
                ConditionStatus(
                    at=each.target,
                    type=each.type,
                    status=each.status,
                    reason=each.reason,
                    message=each.message,
                )
                for each in found
            ),
            origin=policy.origin,
        )


def _conditions(found: Iterable[GatewayCondition]) -> tuple[ConditionStatus, ...]:
    return tuple(
        ConditionStatus(
            at=each.listener,
            type=each.type,
            status=each.status,
            reason=each.reason,
            message=each.message,
        )
        for each in found
    )
