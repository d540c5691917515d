"""The kind UDPRoute (https://gateway-api.sigs.k8s.io/reference/spec/#udproute)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from documents.gateway_api.common import GatewayApiEnvelope, ParentRefs
from documents.gateway_api.routes import route, route_problems
from documents.gateway_api.stream_rules import StreamRules
from mesh.routes import Route, RouteKind


class UdpRouteSpec(Part):
    parent_refs: ParentRefs = Field(
        default=[], description="The services and gateways whose datagrams it routes."
    )
    rules: StreamRules = Field(description="Where datagrams go.")


class UdpRouteDocument(GatewayApiEnvelope):
    """Where UDP datagrams go: those of one client to one backend, by weight."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]
    kind: Literal["UDPRoute"]
    spec: UdpRouteSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        return route_problems(self.metadata, spec.parent_refs, spec.rules)

    def value(self, origin: tuple[str, ...]) -> Route:
        spec = self.spec
        return route(RouteKind.UDP, self.metadata, spec.parent_refs, spec.rules, origin)


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: names}
spec:
  parentRefs: [{name: edge, sectionName: dns}]
  rules:
  - backendRefs:
    - {name: names, port: 53, weight: 3}
    - {name: names-next, port: 53, weight: 1}
"""
