"""The kind HTTPRoute (https://gateway-api.sigs.k8s.io/reference/spec/#httproute)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.durations import Duration
from documents.envelope import Part, Problem, repeated
from documents.gateway_api.common import (
    GatewayApiEnvelope,
    Hostname,
    ParentRefs,
    SectionName,
    WeightedReference,
)
from documents.gateway_api.filters import (
    HttpFilterSpec,
    filters_problems,
    prefix_problems,
)
from documents.gateway_api.matching import HttpMatchSpec
from documents.gateway_api.routes import matching_problems, route, route_problems
from documents.gateway_api.sessions import SessionSpec
from documents.reading import Path
from mesh.routes import Backend, PathKind, Retry, Route, RouteKind, Rule, Timeouts

Hostnames = Annotated[list[Hostname], Field(max_length=16)]
HttpFilters = Annotated[list[HttpFilterSpec], Field(max_length=16)]


class HttpBackendSpec(WeightedReference):
    filters: HttpFilters = Field(default=[], description="For requests to this backend alone.")

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from super().problems(at)
        yield from filters_problems((*at, "filters"), self.filters)
        for place, each in enumerate(self.filters):
            if each.type == "ExternalAuth":
                yield Problem(
                    (*at, "filters", place, "type"),
                    "whether a request may go on is asked before its backend is chosen",
                    "Move the filter to the rule",
                )

    def value(self, own: str) -> Backend:
        return replace(super().value(own), filters=tuple(each.value(own) for each in self.filters))


class TimeoutsSpec(Part):
    request: Duration | None = Field(None, description="For the whole, retries included. 0s: none.")
    backend_request: Duration | None = Field(None, description="For each try. 0s: none.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.request and self.backend_request and self.backend_request > self.request:
            yield Problem(
                (*at, "backendRequest"),
                "one try may take longer than the whole request",
                "Use at most what request says",
            )

    def value(self) -> Timeouts:
        return Timeouts(self.request, self.backend_request)


class RetrySpec(Part):
    codes: list[Annotated[int, Field(ge=400, le=599)]] = Field(
        default=[], description="Statuses after which to try again."
    )
    attempts: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = Field(
        None, description="Tries beside the first. 0: none."
    )
    backoff: Duration | None = Field(None, description="The base of the time between tries.")

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from repeated((*at, "codes"), "", self.codes, "code")

    def value(self) -> Retry:
        return Retry(tuple(self.codes), self.attempts, self.backoff)


class HttpRuleSpec(Part):
    name: SectionName | None = Field(default=None, description="Unique in this route.")
    matches: Annotated[list[HttpMatchSpec], Field(max_length=64)] = Field(
        default=[HttpMatchSpec()], description="One of them must hold; by default every request does."
    )
    filters: HttpFilters = Field(default=[], description="What is done to requests and answers.")
    backend_refs: Annotated[list[HttpBackendSpec], Field(max_length=16)] = Field(
        default=[], description="By weight. Without any, a route of the mesh leads to its own parent."
    )
    timeouts: TimeoutsSpec | None = Field(
        default=None, description="How long a request may take; before any TimeoutPolicy."
    )
    retry: RetrySpec | None = Field(
        default=None, description="When a request is sent again; before any RetryPolicy."
    )
    session_persistence: SessionSpec | None = Field(
        default=None, description="Requests of one session go to one endpoint."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, match in enumerate(self.matches):
            yield from match.problems((*at, "matches", place))
        yield from filters_problems((*at, "filters"), self.filters)
        yield from prefix_problems((*at, "filters"), self.filters, one_prefix=self._one_prefix())
        for place, backend in enumerate(self.backend_refs):
            here = (*at, "backendRefs", place)
            yield from backend.problems(here)
            yield from prefix_problems((*here, "filters"), backend.filters, one_prefix=self._one_prefix())
        redirects = [place for place, each in enumerate(self.filters) if each.type == "RequestRedirect"]
        if redirects and self.backend_refs:
            yield Problem(
                (*at, "backendRefs"),
                "a rule that redirects sends nothing to backends",
                "Remove them, or the RequestRedirect filter",
            )
        if self.timeouts is not None:
            yield from self.timeouts.problems((*at, "timeouts"))
        if self.retry is not None:
            yield from self.retry.problems((*at, "retry"))
        if self.session_persistence is not None:
            yield from self.session_persistence.problems((*at, "sessionPersistence"))

    def _one_prefix(self) -> bool:
        return len(self.matches) <= 1 and all(each.path.type is PathKind.PREFIX for each in self.matches)

    def value(self, own: str) -> Rule:
        return Rule(
            name=self.name,
            matches=tuple(each.value() for each in self.matches or [HttpMatchSpec()]),
            filters=tuple(each.value(own) for each in self.filters),
            backends=tuple(each.value(own) for each in self.backend_refs),
            timeouts=None if self.timeouts is None else self.timeouts.value(),
            retry=None if self.retry is None else self.retry.value(),
            persistence=None if self.session_persistence is None else self.session_persistence.value(),
        )


class HttpRouteSpec(Part):
    parent_refs: ParentRefs = Field(
        default=[], description="The services and gateways whose traffic it routes."
    )
    hostnames: Hostnames = Field(
        default=[], description="Of traffic of gateways; routes of a service hold whatever the host name."
    )
    rules: Annotated[list[HttpRuleSpec], Field(min_length=1, max_length=16)] = Field(
        default=[HttpRuleSpec()],
        description="The first whose matches hold, by the precedence of the Gateway API, is followed.",
    )


class HttpRouteDocument(GatewayApiEnvelope):
    """Where HTTP requests go, and what is done to them on their way."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["HTTPRoute"]
    spec: HttpRouteSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        yield from route_problems(self.metadata, spec.parent_refs, spec.rules, spec.hostnames)
        yield from matching_problems(spec.rules)

    def value(self, origin: tuple[str, ...]) -> Route:
        spec = self.spec
        return route(RouteKind.HTTP, self.metadata, spec.parent_refs, spec.rules, origin, spec.hostnames)


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{kind: Service, group: "", name: api}]
  rules:
  - matches: [{path: {value: /beta}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs:
    - {name: api, port: 80, weight: 90}
    - {name: catalogue, port: 80, weight: 10}
    timeouts: {request: 2s}
  - backendRefs: [{name: api, port: 80}]
"""
