"""The kind UDPRoute (https://gateway-api.sigs.k8s.io/reference/spec/#udproute)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Envelope, Part, Problem
from documents.gateway_api.common import ParentRefs, parent_problems
from documents.gateway_api.stream_rules import StreamRules
from mesh.routes import Route, RouteKind


class UdpRouteSpec(Part):
    parent_refs: ParentRefs = Field(
        default=[], description="The services and gateways whose datagrams it routes."
    )
    rules: StreamRules = Field(description="Where datagrams go.")


class UdpRouteDocument(Envelope):
    """Where UDP datagrams go: those of one client to one backend, by weight."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]
    kind: Literal["UDPRoute"]
    spec: UdpRouteSpec

    def problems(self) -> Iterator[Problem]:
        yield from parent_problems(("spec", "parentRefs"), self.spec.parent_refs, self.metadata.namespace)
        for place, rule in enumerate(self.spec.rules):
            yield from rule.problems(("spec", "rules", place))

    def value(self, origin: tuple[str, ...]) -> Route:
        own = self.metadata.namespace
        return Route(
            kind=RouteKind.UDP,
            key=self.metadata.key,
            parents=tuple(each.value(own) for each in self.spec.parent_refs),
            rules=tuple(each.value(own) for each in self.spec.rules),
            created=self.metadata.creation_timestamp,
            origin=origin,
        )


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
