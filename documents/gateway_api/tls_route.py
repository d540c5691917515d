"""The kind TLSRoute (https://gateway-api.sigs.k8s.io/reference/spec/#tlsroute)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from documents.gateway_api.common import GatewayApiEnvelope, Hostname, ParentRefs
from documents.gateway_api.routes import route, route_problems
from documents.gateway_api.stream_rules import StreamRules
from mesh.routes import Route, RouteKind


class TlsRouteSpec(Part):
    parent_refs: ParentRefs = Field(
        default=[], description="The services and gateways whose connections it routes."
    )
    hostnames: Annotated[list[Hostname], Field(min_length=1, max_length=1024)] = Field(
        description="The server names (SNI) that clients ask for."
    )
    rules: StreamRules = Field(description="Where connections go.")


class TlsRouteDocument(GatewayApiEnvelope):
    """Where TLS connections go, by the server name that the client asks for."""

    api_version: Literal[
        "gateway.networking.k8s.io/v1",
        "gateway.networking.k8s.io/v1alpha3",
        "gateway.networking.k8s.io/v1alpha2",
    ]
    kind: Literal["TLSRoute"]
    spec: TlsRouteSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        return route_problems(self.metadata, spec.parent_refs, spec.rules, spec.hostnames)

    def value(self, origin: tuple[str, ...]) -> Route:
        spec = self.spec
        return route(RouteKind.TLS, self.metadata, spec.parent_refs, spec.rules, origin, spec.hostnames)


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: vault}
spec:
  parentRefs: [{name: edge}]
  hostnames: [vault.example.com]
  rules: [{backendRefs: [{name: vault, port: 8200}]}]
"""
