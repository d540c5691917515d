"""Rules of routes with their references resolved: what is left to translate."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.names import Key
from mesh.routes import ExternalAuth, Filter, Match, Retry, SessionPersistence, Timeouts
from mesh.targeting import RouteName


@dataclass(frozen=True, slots=True)
class BackendView:
    """Where a rule sends requests: a port of a service, or of its subset of that name (empty: all of it).

    `filters` and `mirrors` are for requests to it alone. `problem` says why there is no such thing; its share of the requests is
    answered with 500 (https://gateway-api.sigs.k8s.io/reference/spec/#httpbackendref). `host`: what it takes itself for, where it is
    outside the mesh and would not know the name that was called.
    """

    service: Key
    port: int
    subset: str = ""
    weight: int = 1
    filters: tuple[Filter, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    problem: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of the request goes to `backend` as well. `share` is numerator and denominator."""

    backend: BackendView
    share: tuple[int, int] = (100, 100)


@dataclass(frozen=True, slots=True)
class Authorizer:
    """`backend` is asked about each request, as `said`. Where it has a problem nobody can be asked, and requests are answered with 500."""

    backend: BackendView
    said: ExternalAuth


@dataclass(frozen=True, slots=True)
class RuleView:
    """One match of one rule of a route, whose references are resolved. `filters` are those that send nothing elsewhere."""

    route: RouteName
    place: int
    match: Match
    backends: tuple[BackendView, ...]
    filters: tuple[Filter, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    persistence: SessionPersistence | None = None
    hostnames: tuple[str, ...] = ()
    authorizer: Authorizer | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)
