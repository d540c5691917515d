"""The kind TCPRoute (https://gateway-api.sigs.k8s.io/reference/spec/#tcproute)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from documents.gateway_api.common import GatewayApiEnvelope, ParentRefs
from documents.gateway_api.routes import route, route_problems
from documents.gateway_api.stream_rules import StreamRules
from mesh.routes import Route, RouteKind


class TcpRouteSpec(Part):
    parent_refs: ParentRefs = Field(
        default=[], description="The services and gateways whose connections it routes."
    )
    rules: StreamRules = Field(description="Where connections go.")


class TcpRouteDocument(GatewayApiEnvelope):
    """Where TCP connections go."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]
    kind: Literal["TCPRoute"]
    spec: TcpRouteSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        return route_problems(self.metadata, spec.parent_refs, spec.rules)

    def value(self, origin: tuple[str, ...]) -> Route:
        spec = self.spec
        return route(RouteKind.TCP, self.metadata, spec.parent_refs, spec.rules, origin)


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: db}
spec:
  parentRefs: [{kind: Service, group: "", name: db}]
  rules:
  - backendRefs:
    - {name: db, port: 5432, weight: 3}
    - {name: db-next, port: 5432, weight: 1}
"""
