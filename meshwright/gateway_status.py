"""What status tells of routes and gateways."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.conditions import gateway_conditions, gateways, route_conditions
from mesh.state import MeshState
from meshwright.certificates import Certificates
from meshwright.status import ConditionStatus, GatewayStatus, RouteStatus


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


def gateway_statuses(state: MeshState, certificates: Certificates) -> Iterator[GatewayStatus]:
    for gateway in gateways(state):
        conditions = gateway_conditions(state, gateway, certificates.loaded, certificates.problem)
        yield GatewayStatus(
            gateway=str(gateway.key),
            workloads=tuple(map(str, state.edges.players.get(gateway.key, ()))),
            conditions=tuple(
                ConditionStatus(
                    at=each.listener,
                    type=each.type,
                    status=each.status,
                    reason=each.reason,
                    message=each.message,
                )
                for each in conditions
            ),
            origin=gateway.origin,
        )
