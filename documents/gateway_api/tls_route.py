"""The kind TLSRoute (https://gateway-api.sigs.k8s.io/reference/spec/#tlsroute)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Envelope, Part, Problem, repeated
from documents.gateway_api.common import Hostname, ParentRefs, parent_problems
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


class TlsRouteDocument(Envelope):
    """Where TLS connections go, by the server name that the client asks for."""

    api_version: Literal[
        "gateway.networking.k8s.io/v1",
        "gateway.networking.k8s.io/v1alpha3",
        "gateway.networking.k8s.io/v1alpha2",
    ]
    kind: Literal["TLSRoute"]
    spec: TlsRouteSpec

    def problems(self) -> Iterator[Problem]:
        yield from parent_problems(("spec", "parentRefs"), self.spec.parent_refs, self.metadata.namespace)
        yield from repeated(("spec", "hostnames"), "", self.spec.hostnames, "host name")
        for place, rule in enumerate(self.spec.rules):
            yield from rule.problems(("spec", "rules", place))

    def value(self, origin: tuple[str, ...]) -> Route:
        own = self.metadata.namespace
        return Route(
            kind=RouteKind.TLS,
            key=self.metadata.key,
            parents=tuple(each.value(own) for each in self.spec.parent_refs),
            hostnames=tuple(self.spec.hostnames),
            rules=tuple(each.value(own) for each in self.spec.rules),
            created=self.metadata.creation_timestamp,
            origin=origin,
        )


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: vault}
spec:
  parentRefs: [{name: edge}]
  hostnames: [vault.example.com]
  rules: [{backendRefs: [{name: vault, port: 8200}]}]
"""
