"""ExternalAuthorization: a service is asked whether a request may go on. Enforced by the callee, by gateways, and for a route by its callers.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/ext_authz_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/service/auth/v3/external_auth.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from immutables import Map
from pydantic import AfterValidator, Field

from documents.envelope import Part, Problem, repeated, wrong
from documents.reading import Path
from envoy import authorization, names
from envoy.authorization import Asked
from envoy.seams import NOTHING, Called, Parts, serialised
from mesh.merge import Fields, freeze
from mesh.policy import Policy
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.type.v3.http_status_pb2 import StatusCode
from policies.called import ServiceRefSpec, cluster_of, in_namespace
from policies.document import ROUTES, WITHOUT_REQUESTS, PolicyDocument, Targeting, said
from policies.fields import PositiveDuration, seconds
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.matching import HeaderName
from policies.refusing import name_policy
from policies.requests import Conditions, Host, RequestMatchFields

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: ExternalAuthorization
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  protocol: grpc
  service: {name: authorizer, port: 9000}
  timeout: 200ms
  failure: deny
  except:
  - {paths: [{exact: /health}], methods: [GET]}
"""
FILTER: Final = "meshwright.external_authorization"
DEFAULT_TIMEOUT: Final = "1s"
DEFAULT_STATUS: Final = 503
MOST_BYTES: Final = 4 * 1024 * 1024

HeaderNames = Annotated[list[HeaderName], Field(max_length=64)]


def _status(number: int) -> int:
    if number < 400 or number not in StatusCode.values():
        raise wrong(f"{number} is not the status of a refusal", "Use one that is registered, like 403 or 503")
    return number


def _path(text: str) -> str:
    if not text.startswith("/") or any(
        each.isspace() or each in "?#" or not each.isprintable() for each in text
    ):
        raise wrong(f"{text!r} is not the beginning of a path", "Write it like /check, without a query")
    return text.rstrip("/")


class AddedHeaderFields(Part):
    name: HeaderName = Field(description="The name of the header, or of the gRPC metadata.")
    value: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[ -~]+$")] = Field(
        description="What it says. It is no place for secrets: proxies show their configuration to their administrators."
    )


class BodyFields(Part):
    max_bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)] = Field(
        description="How much of a request's body is sent at most. A request waits until so much of its body is there."
    )
    larger: Literal["refuse", "cut"] = Field(
        "refuse",
        description="What becomes of a larger one: `refuse` answers 413, `cut` sends its beginning, which the service must know to be "
        "just that. By default refuse.",
    )
    raw: bool = Field(
        False,
        description="gRPC: as bytes in `raw_body`, instead of text in `body`. For what is not UTF-8. By default false.",
    )


class ExternalAuthorizationFields(Part):
    enabled: bool | None = Field(
        None,
        description="`false` asks nobody, whatever is said from farther away. By default true where a policy applies.",
    )
    protocol: Literal["grpc", "http"] | None = Field(
        None,
        description="`grpc`: the service is an envoy.service.auth.v3.Authorization. `http`: it is sent a request with the method, path and "
        "host of the one in question; 200 permits, 5xx is a failure, anything else is a refusal that the client gets.",
    )
    service: ServiceRefSpec | None = Field(
        None,
        description="Who is asked: a service of the mesh, over mesh TLS, or an ExternalService. Workloads need not say that they use it. For gRPC "
        "its port must be of protocol grpc or http2.",
    )
    authority: Host | None = Field(
        None, description="gRPC: the authority of the calls. By default `<service>.<namespace>.mesh`."
    )
    path: Annotated[str, AfterValidator(_path)] | None = Field(
        None, description="HTTP: what the path of a request is put behind, as in /check. By default nothing."
    )
    timeout: PositiveDuration | None = Field(
        None, description="How long a request waits for an answer. By default 1s."
    )
    failure: Literal["deny", "allow"] | None = Field(
        None,
        description="What becomes of a request while the service does not answer, not in time, or with 5xx: `deny` answers it with `failureStatus`, "
        "`allow` lets it pass. By default deny.",
    )
    failure_status: Annotated[int, AfterValidator(_status)] | None = Field(
        None, description="The status of that answer. By default 503."
    )
    requests: list[RequestMatchFields] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Only requests that meet one of these are asked about. By default all.",
    )
    except_: list[RequestMatchFields] | None = Field(
        None,
        alias="except",
        max_length=64,
        description="Requests that meet one of these are not asked about. By default none.",
    )
    headers: HeaderNames | None = Field(
        None,
        description="Headers of requests that the service is told. gRPC: by default all. HTTP: besides Authorization, Host and who calls "
        "(x-forwarded-client-cert), which it always is; by default none.",
    )
    add: list[AddedHeaderFields] | None = Field(
        None,
        max_length=16,
        description="What the service is told besides, as headers or gRPC metadata. By default nothing.",
    )
    upstream_headers: HeaderNames | None = Field(
        None,
        description="HTTP: headers of a permission that the application gets, in place of what the client said. By default none. (By gRPC the "
        "service says it itself.)",
    )
    client_headers: HeaderNames | None = Field(
        None,
        description="HTTP: headers of a refusal that the client gets, besides those that every answer has. By default all.",
    )
    client_headers_on_success: HeaderNames | None = Field(
        None, description="HTTP: headers of a permission that the client gets. By default none."
    )
    body: BodyFields | None = Field(
        None, description="The service gets the body, too. By default it does not."
    )


class ExternalAuthorizationSpec(Targeting, ExternalAuthorizationFields):
    pass


class ExternalAuthorization(PolicyDocument):
    """A service is asked whether a request may go on.

    It is asked after tokens were verified (RequestAuthentication) and after access policies allowed the request, and is told who calls: by gRPC in
    `source.principal`, with the claims of a verified token in `metadata_context`. Whatever it answers, it changes no header that frames a message,
    and none that says who called. Of policies for one place the nearest wins, field by field. Where `protocol` or `service` is said by none of them,
    every request is treated as one that the service did not answer, and refused.

    Of a route of the mesh it is enforced by the callers that follow the route, besides what the called service's own policies say;
    at a gateway the policy of a route takes the place of what is said of the gateway's workload, for that route. The filter ExternalAuth of an
    HTTPRoute is asked besides, after this.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["ExternalAuthorization"]
    spec: ExternalAuthorizationSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        routes = [each.kind in ROUTES for each in spec.target_refs]
        if spec.from_ and not all(routes):
            yield Problem(
                ("spec", "from"),
                "the sidecar of who is called asks for all callers",
                "Remove from, or target a route",
            )
        for place, ref in enumerate(spec.target_refs):
            if ref.kind in WITHOUT_REQUESTS:
                yield Problem(
                    ("spec", "targetRefs", place, "kind"),
                    f"a {ref.kind} has connections, not requests",
                    "Target an HTTPRoute, a GRPCRoute, or a Service",
                )
        if not spec.model_fields_set - {"target_refs", "from_", "enforced"}:
            yield Problem(("spec",), "nothing is said", "Add protocol and service, or enabled: false")
        yield from self._of_protocol()
        for name, given in (
            ("headers", spec.headers),
            ("upstreamHeaders", spec.upstream_headers),
            ("clientHeaders", spec.client_headers),
            ("clientHeadersOnSuccess", spec.client_headers_on_success),
        ):
            yield from repeated(("spec", name), "", given or (), "header")
        yield from repeated(("spec", "add"), "name", [each.name for each in spec.add or ()], "name")

    def _of_protocol(self) -> Iterator[Problem]:
        """Fields that only the other protocol has."""
        spec = self.spec
        at: Path = ("spec",)
        if spec.protocol == "grpc":
            for name, given in (
                ("path", spec.path),
                ("upstreamHeaders", spec.upstream_headers),
                ("clientHeaders", spec.client_headers),
                ("clientHeadersOnSuccess", spec.client_headers_on_success),
            ):
                if given is not None:
                    yield Problem((*at, name), "by gRPC the service says this itself", f"Remove {name}")
        elif spec.protocol == "http":
            if spec.authority is not None:
                yield Problem((*at, "authority"), "by HTTP it is the host of the request", "Remove authority")
            if spec.body is not None and spec.body.raw:
                yield Problem((*at, "body", "raw"), "by HTTP a body is always sent as it is", "Remove raw")

    def value(self, origin: tuple[str, ...]) -> Policy:
        spec: dict[str, Any] = said(self.spec)
        in_namespace(spec.get("service"), self.metadata.namespace)
        return replace(super().value(origin), fields=freeze(spec))


def effect(fields: ExternalAuthorizationFields, where: Where) -> Parts:
    if not where.protocol.is_http or (where.side is Side.CALLER and not where.route):
        return NOTHING
    route = Route()
    if fields.enabled is False:
        if where.side is Side.CALLEE:
            return NOTHING
        authorization.off_route(route, FILTER)  # at a gateway, in place of what holds for all its routes
        return Parts(route=serialised(route))
    asked = _asked(fields)
    some, never = _conditions(fields.requests, ambiguous=True), _conditions(fields.except_, ambiguous=False)
    authorization.on_route(route, FILTER, asked, some, never)
    name_policy(route, ExternalAuthorization.__name__, where.policy)
    called = () if fields.service is None else (fields.service.called(),)
    return Parts(route=serialised(route), called=called)


def _asked(fields: ExternalAuthorizationFields) -> Asked:
    service, grpc = fields.service, fields.protocol == "grpc"
    if service is None or fields.protocol is None:
        # Nobody can be asked. To leave the policy out would open what somebody wants closed.
        return Asked(
            names.NOWHERE, False, seconds(DEFAULT_TIMEOUT), status=fields.failure_status or DEFAULT_STATUS
        )
    return Asked(
        cluster=cluster_of(service.called()),
        grpc=grpc,
        timeout=seconds(fields.timeout or DEFAULT_TIMEOUT),
        host=fields.authority or service.host(),
        prefix=fields.path or "",
        headers=_headers(fields.headers, grpc=grpc),
        added=tuple((each.name, each.value) for each in fields.add or ()),
        upstream=tuple(fields.upstream_headers or ()),
        client=None if fields.client_headers is None else tuple(fields.client_headers),
        client_on_success=tuple(fields.client_headers_on_success or ()),
        body=None if fields.body is None else _body(fields.body),
        open=fields.failure == "allow",
        status=fields.failure_status or DEFAULT_STATUS,
    )


def _headers(said: Sequence[str] | None, *, grpc: bool) -> tuple[str, ...] | None:
    """By gRPC who calls is a field of its own."""
    if grpc:
        return None if said is None else tuple(said)
    return (*(said or ()), authorization.CALLER)


def _body(fields: BodyFields) -> authorization.Body:
    return authorization.Body(fields.max_bytes, partial=fields.larger == "cut", raw=fields.raw)


def _conditions(matches: Sequence[RequestMatchFields] | None, *, ambiguous: bool) -> tuple[Conditions, ...]:
    return tuple(each for match in matches or () for each in match.alternatives(ambiguous=ambiguous))


def closed(where: Where) -> Parts:
    """Where it cannot be told whom to ask, nothing is let in."""
    return effect(ExternalAuthorizationFields.model_validate({}), where)


def calls(fields: Fields) -> Iterator[Called]:
    """Of a route, by its callers."""
    service = fields.get("service")
    if isinstance(service, Map) and fields.get("enabled") is not False:
        yield ServiceRefSpec.model_validate(dict(service)).called()


def join(several: Sequence[Parts]) -> Parts:
    """What a gateway says, and then what is said of one of its routes: that alone counts there."""
    return several[-1]


KIND: Final = PolicyKind(
    ExternalAuthorization,
    ExternalAuthorizationFields,
    Side.CALLER | Side.CALLEE,
    effect,
    filters=(authorization.standing(FILTER),),
    levels=ANYWHERE,
    join=join,
    named=True,
    closed=closed,
    calls=calls,
)
