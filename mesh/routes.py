"""Routes: what the Gateway API's HTTPRoute, GRPCRoute, TCPRoute, TLSRoute and UDPRoute say, and the subsets they may name.

Defaults of the specification are already filled in: an HTTPRoute rule without matches has one of path prefix `/`, a
GRPCRoute rule without matches has one that matches every call, a weight is always a number. Names of headers are in
lower case. Rules of TCPRoute, TLSRoute and UDPRoute have no matches, only backends.
Source: https://gateway-api.sigs.k8s.io/reference/spec/ (v1, experimental channel included).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from mesh.names import Key
from mesh.service import Labels


class RouteKind(StrEnum):
    HTTP = "HTTPRoute"
    GRPC = "GRPCRoute"
    TCP = "TCPRoute"
    TLS = "TLSRoute"
    UDP = "UDPRoute"


class ParentKind(StrEnum):
    SERVICE = "Service"
    GATEWAY = "Gateway"
    LISTENER_SET = "ListenerSet"


@dataclass(frozen=True, slots=True)
class ParentRef:
    """What a route is attached to: a service (traffic inside the mesh), or a gateway or a set of its listeners (north-south).

    `port` None means every port of the parent; `section` names a listener, or a port of a service.
    """

    kind: ParentKind
    key: Key
    port: int | None = None
    section: str | None = None

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        section = "" if self.section is None else f"#{self.section}"
        return f"{self.kind} {self.key}{port}{section}"


class PathKind(StrEnum):
    """PREFIX is by elements: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`. REGEX is RE2 and matches the whole path."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGEX = "RegularExpression"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """`value` of a PREFIX has no trailing slash, except `/` itself and the `/<service>/` of a GRPCRoute."""

    kind: PathKind
    value: str


class ValueKind(StrEnum):
    EXACT = "Exact"
    REGEX = "RegularExpression"


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter of that name has `value`, or matches it whole as an RE2 expression."""

    name: str
    value: str
    kind: ValueKind = ValueKind.EXACT


@dataclass(frozen=True, slots=True)
class GrpcMethod:
    """What a GRPCRoute said before it was lowered into a path: precedence goes by it."""

    service: str | None
    method: str | None
    kind: ValueKind = ValueKind.EXACT


@dataclass(frozen=True, slots=True)
class Match:
    """A request matches if all that is given matches. `grpc` is what `path` was made of, no further condition."""

    path: PathMatch | None = None
    method: str | None = None
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    grpc: GrpcMethod | None = None


@dataclass(frozen=True, slots=True)
class Header:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RequestHeaderModifier:
    """Changes of the request's headers: `set` overwrites, `add` appends to what is there, `remove` drops."""

    set: tuple[Header, ...] = ()
    add: tuple[Header, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseHeaderModifier:
    """As RequestHeaderModifier, for the response."""

    set: tuple[Header, ...] = ()
    add: tuple[Header, ...] = ()
    remove: tuple[str, ...] = ()


class RewriteKind(StrEnum):
    FULL = "ReplaceFullPath"
    PREFIX = "ReplacePrefixMatch"


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """What the path becomes. PREFIX replaces what the rule's PathPrefix matched, and only goes with one; its `value`
    has no trailing slash, so that it is empty for the root. The result always begins with a slash.
    """

    kind: RewriteKind
    value: str


@dataclass(frozen=True, slots=True)
class RequestRedirect:
    """Answer with a redirect. What is None stays as the request has it.

    `port` None: the scheme's well-known port where a scheme is given, else the port that the request came in by.
    """

    scheme: str | None = None
    hostname: str | None = None
    path: PathRewrite | None = None
    port: int | None = None
    status: int = 302


@dataclass(frozen=True, slots=True)
class UrlRewrite:
    """Changes of the request on its way to the backend. `hostname` becomes its authority."""

    hostname: str | None = None
    path: PathRewrite | None = None


@dataclass(frozen=True, slots=True)
class Fraction:
    """`numerator` of `denominator`, which is 1 or more and not less than the numerator."""

    numerator: int
    denominator: int = 100


@dataclass(frozen=True, slots=True)
class RequestMirror:
    """A copy of the request goes to `backend` too, whose answer is ignored. `share` None: of every request."""

    backend: Backend
    share: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Cors:
    """https://fetch.spec.whatwg.org/#http-cors-protocol. `max_age` in seconds.

    `origins` are `*`, or `<scheme>://<host>[:<port>]` whose host may begin with `*`, which stands for anything at
    all, dots included. `*` in `methods` and `headers` means any.
    """

    origins: tuple[str, ...] = ()
    credentials: bool = False
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age: int = 5


@dataclass(frozen=True, slots=True)
class ExternalAuth:
    """`backend` is asked whether a request may go on (GEP-1494): by gRPC as an Envoy external authorization service, or by HTTP, where 200
    is a permission.

    `headers`: names, in lower case, of headers that are sent to it: by HTTP besides those that always are, by gRPC none means all. `path` is
    put before that of the request, by HTTP. `response_headers`: those of an HTTP permission that the request gets; none means all. `body`: bytes
    of the request's body that are sent at most; 0 is none.
    """

    backend: Backend
    headers: tuple[str, ...] = ()
    path: str = ""
    response_headers: tuple[str, ...] = ()
    body: int = 0


Filter = (
    RequestHeaderModifier
    | ResponseHeaderModifier
    | RequestRedirect
    | UrlRewrite
    | RequestMirror
    | Cors
    | ExternalAuth
)


class BackendKind(StrEnum):
    SERVICE = "Service"
    SUBSET = "ServiceSubset"
    EXTERNAL = "ExternalService"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Backend:
    """Where requests go. `port` is a number of the service's (a SUBSET's: of the service that it narrows).

    `weight` is relative to the sum of the rule's; 0 takes no traffic. `filters` apply to this backend alone. `grpc`: it is called by gRPC
    whatever the route, so its port must take that. `named`: for UNKNOWN, the kind that the document says; its share is refused.
    """

    kind: BackendKind
    key: Key
    port: int | None = None
    weight: int = 1
    filters: tuple[Filter, ...] = ()
    grpc: bool = False
    named: str = ""

    def __str__(self) -> str:
        return f"{self.named or self.kind} {self.key}" + ("" if self.port is None else f":{self.port}")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """None: nothing is said. Zero: no timeout. `request` is for the whole, `backend_request` for each try."""

    request: timedelta | None = None
    backend_request: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """`codes` are statuses of the backend after which a request is tried again, at most `attempts` times more.

    Whatever the codes, one that had no answer (no connection, refused, reset, a try that took too long) is tried again
    (HTTPRouteRetry). `attempts` None leaves their number to defaults; zero means no retries. `backoff` is the base
    interval between tries.
    """

    codes: tuple[int, ...] = ()
    attempts: int | None = None
    backoff: timedelta | None = None


class SessionKind(StrEnum):
    COOKIE = "Cookie"
    HEADER = "Header"


@dataclass(frozen=True, slots=True)
class SessionPersistence:
    """Requests of a session go to one endpoint (GEP-1619).

    `name` is that of the cookie or header; None leaves it to us. `permanent`: the cookie outlives the client's own
    session, for `absolute_timeout`, which is given then and only then.
    """

    kind: SessionKind = SessionKind.COOKIE
    name: str | None = None
    absolute_timeout: timedelta | None = None
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A request that meets any of `matches` is treated as `filters` say and goes to one of `backends`, by weight."""

    name: str | None = None
    matches: tuple[Match, ...] = ()
    filters: tuple[Filter, ...] = ()
    backends: tuple[Backend, ...] = ()
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    persistence: SessionPersistence | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One document. `hostnames` are in lower case, may begin with `*.`, and are empty for every name."""

    kind: RouteKind
    key: Key
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    created: datetime | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)

    def backends(self) -> Iterable[Backend]:
        """Every backend that a rule or a filter of this route names, in the order of the document."""
        for rule in self.rules:
            for backend in rule.backends:
                yield backend
                yield from referred(backend.filters)
            yield from referred(rule.filters)


@dataclass(frozen=True, slots=True)
class Subset:
    """A backend for routes: the endpoints of `service` that have all of `labels`, which are never none."""

    key: Key
    service: Key
    labels: Labels
    origin: tuple[str, ...] = field(default=(), compare=False)


def referred(filters: tuple[Filter, ...]) -> Iterable[Backend]:
    """The backends that `filters` copy requests to, or ask about them."""
    return (each.backend for each in filters if isinstance(each, RequestMirror | ExternalAuth))
