"""The kind GRPCRoute (https://gateway-api.sigs.k8s.io/reference/spec/#grpcroute).

A call of gRPC is a request for the path `/<service>/<method>` (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md),
and its matches become such as an HTTPRoute has. What was said is kept beside, for precedence goes by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from documents.expressions import flaw
from documents.gateway_api.common import GatewayApiEnvelope, ParentRefs, SectionName, WeightedReference
from documents.gateway_api.filters import GrpcFilterSpec, filters_problems
from documents.gateway_api.http_route import Hostnames
from documents.gateway_api.matching import HeaderMatches, value_matches, value_problems
from documents.gateway_api.routes import matching_problems, route, route_problems
from documents.gateway_api.sessions import SessionSpec
from documents.reading import Path
from mesh.routes import (
    Backend,
    GrpcMethod,
    Match,
    PathKind,
    PathMatch,
    Route,
    RouteKind,
    Rule,
    ValueKind,
)

_SERVICE = re.compile(r"\.?[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*", re.IGNORECASE | re.ASCII)
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_ANY = "[^/]+"

GrpcFilters = Annotated[list[GrpcFilterSpec], Field(max_length=16)]


class GrpcMethodSpec(Part):
    type: ValueKind = Field(ValueKind.EXACT, strict=False, description="Exact, or RegularExpression (RE2).")
    service: Annotated[str, Field(max_length=1024)] | None = Field(None, description="With its package.")
    method: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="By default every method."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        if not self.service and not self.method:
            yield Problem(
                at, "neither service nor method is given", "Give one of the two, or remove this match"
            )
            return
        if self.type is ValueKind.REGEX:
            yield from self._flaws(at)
            return
        if self.service and not _SERVICE.fullmatch(self.service):
            yield Problem(
                (*at, "service"),
                f"{self.service!r} is not the name of a gRPC service",
                "Use names of letters, digits and '_', separated by dots, as foo.bar.Greeter",
            )
        if self.method and not _METHOD.fullmatch(self.method):
            yield Problem(
                (*at, "method"),
                f"{self.method!r} is not the name of a gRPC method",
                "Use letters, digits and '_', as SayHello",
            )

    def _flaws(self, at: Path) -> Iterator[Problem]:
        """Each by itself, that neither reaches out of its part of the path; then the whole, for its size."""
        flawed = False
        for field, expression in (("service", self.service), ("method", self.method)):
            found = flaw(expression) if expression else None
            if found is not None:
                flawed = True
                yield Problem((*at, field), *found)
        whole = None if flawed else flaw(self._expression())
        if whole is not None:
            yield Problem(at, *whole)

    def matched(self) -> PathMatch:
        if self.type is ValueKind.REGEX or not self.service:
            return PathMatch(PathKind.REGEX, self._expression())
        if not self.method:
            return PathMatch(PathKind.PREFIX, f"/{self.service}/")
        return PathMatch(PathKind.EXACT, f"/{self.service}/{self.method}")

    def said(self) -> GrpcMethod:
        return GrpcMethod(self.service or None, self.method or None, self.type)

    def _expression(self) -> str:
        if self.type is ValueKind.EXACT:
            return f"/{_ANY}/{self.method}"
        service = f"(?:{self.service})" if self.service else _ANY
        method = f"(?:{self.method})" if self.method else _ANY
        return f"/{service}/{method}"


class GrpcMatchSpec(Part):
    """All that is given must hold."""

    method: GrpcMethodSpec | None = Field(None, description="By default every method of every service.")
    headers: HeaderMatches = Field(default=[], description="All of these must hold.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.method is not None:
            yield from self.method.problems((*at, "method"))
        yield from value_problems((*at, "headers"), self.headers)

    def value(self) -> Match:
        return Match(
            path=None if self.method is None else self.method.matched(),
            headers=value_matches(self.headers),
            grpc=None if self.method is None else self.method.said(),
        )


class GrpcBackendSpec(WeightedReference):
    filters: GrpcFilters = Field(default=[], description="For calls to this backend alone.")

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from super().problems(at)
        yield from filters_problems((*at, "filters"), self.filters)

    def value(self, own: str) -> Backend:
        return replace(super().value(own), filters=tuple(each.value(own) for each in self.filters))


class GrpcRuleSpec(Part):
    name: SectionName | None = Field(default=None, description="Unique in this route.")
    matches: Annotated[list[GrpcMatchSpec], Field(max_length=64)] = Field(
        default=[], description="One of them must hold; by default every call does."
    )
    filters: GrpcFilters = Field(default=[], description="What is done to calls and answers.")
    backend_refs: Annotated[list[GrpcBackendSpec], Field(max_length=16)] = Field(
        default=[], description="By weight. Without any, a route of the mesh leads to its own parent."
    )
    session_persistence: SessionSpec | None = Field(
        default=None, description="Calls of one session go to one endpoint."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, match in enumerate(self.matches):
            yield from match.problems((*at, "matches", place))
        yield from filters_problems((*at, "filters"), self.filters)
        for place, backend in enumerate(self.backend_refs):
            yield from backend.problems((*at, "backendRefs", place))
        if self.session_persistence is not None:
            yield from self.session_persistence.problems((*at, "sessionPersistence"))

    def value(self, own: str) -> Rule:
        return Rule(
            name=self.name,
            matches=tuple(each.value() for each in self.matches) or (Match(),),
            filters=tuple(each.value(own) for each in self.filters),
            backends=tuple(each.value(own) for each in self.backend_refs),
            persistence=None if self.session_persistence is None else self.session_persistence.value(),
        )


class GrpcRouteSpec(Part):
    parent_refs: ParentRefs = Field(
        default=[], description="The services and gateways whose calls it routes."
    )
    hostnames: Hostnames = Field(
        default=[], description="Of traffic of gateways; routes of a service hold whatever the host name."
    )
    rules: Annotated[list[GrpcRuleSpec], Field(max_length=16)] = Field(
        default=[],
        description="The first whose matches hold, by the precedence of the Gateway API, is followed.",
    )


class GrpcRouteDocument(GatewayApiEnvelope):
    """Where gRPC calls go, and what is done to them on their way."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]
    kind: Literal["GRPCRoute"]
    spec: GrpcRouteSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        yield from route_problems(self.metadata, spec.parent_refs, spec.rules, spec.hostnames)
        yield from matching_problems(spec.rules)

    def value(self, origin: tuple[str, ...]) -> Route:
        spec = self.spec
        return route(RouteKind.GRPC, self.metadata, spec.parent_refs, spec.rules, origin, spec.hostnames)


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: prices}
spec:
  parentRefs: [{kind: Service, group: "", name: prices}]
  rules:
  - matches: [{method: {service: shop.Prices, method: List}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-bulk, value: "yes"}]}}]
    backendRefs: [{name: prices, port: 50051}]
  - backendRefs: [{name: prices, port: 50051}]
"""
