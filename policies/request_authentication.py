"""RequestAuthentication: which JSON Web Tokens are believed, and which requests need one. Enforced by the callee, and by gateways.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/jwt_authn_filter
RFC 7519 (tokens), RFC 7517 (keys), RFC 6750 (bearer tokens), RFC 8725 (best practices)

Providers stand in the filter itself, for it keeps the keys that it fetched: on a route they would be fetched anew with every change of
any policy of that route. So a change here is one of the filter chain: new connections follow it at once, those that are open are drained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from documents.envelope import Part, Problem, repeated, wrong
from envoy.seams import NOTHING, Called, ExtraResource, Parts, serialised
from mesh.merge import freeze
from mesh.policy import Policy
from mesh.targeting import Level
from pb.envoy.config.route.v3.route_components_pb2 import Route
from policies import jwt_messages as messages
from policies.called import FilePath, HttpUrl, ServiceRefSpec, cluster_of, in_namespace, is_address, server
from policies.document import PolicyDocument, Targeting, said
from policies.fields import PositiveDuration, seconds
from policies.jwks import public_keys
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.matching import TOKEN, HeaderName
from policies.refusing import name_policy
from policies.requests import RequestMatchFields

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: RequestAuthentication
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  issuers:
  - name: customers
    issuer: https://login.example.com/
    audiences: [api.example.com]
    jwks: {uri: "https://login.example.com/.well-known/jwks.json"}
    claims: [{claim: sub, header: x-user}]
  mode: required
  rules:
  - match: {paths: [{prefix: /public}]}
    mode: optional
"""
NOT_OURS: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "x-forwarded-client-cert"}
)
"""Headers that no claim can be told in: they mean something to proxies."""
BEARER: Final = messages.Place(header="authorization", prefix="Bearer ")

Mode = Literal["required", "optional", "off"]


def _token(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise wrong(f"{text!r} is not the name of a cookie", "Write it like session (RFC 6265)")
    return text


class JwksFields(Part):
    """Either `inline` or `uri`."""

    inline: Annotated[str, AfterValidator(public_keys)] | None = Field(
        None, description="The public keys of the issuer, a JWKS in JSON. Secrets are refused."
    )
    uri: HttpUrl | None = Field(
        None,
        description="Where each proxy fetches them, http or https. Over https the certificate must be one for the host of the URI.",
    )
    service: ServiceRefSpec | None = Field(
        None,
        description="The service of the mesh, or the ExternalService, that is asked for `uri`, instead of what its host resolves to.",
    )
    ca_file: FilePath | None = Field(
        None,
        description="Authorities of the server's certificate, PEM, a file on the host of each proxy. By default those of that host.",
    )
    cache: PositiveDuration = Field(
        "5m",
        description="How long until they are fetched anew, so an issuer must publish a key that long before it is used. What could not be "
        "renewed stays good while the server is away, or has no set of keys to offer; a proxy that never had any refuses all tokens of "
        "the issuer, and asks again each second. By default 5m.",
    )
    timeout: PositiveDuration = Field(
        "2s",
        description="For one try to fetch them; there are three. A request waits for that while there are none. By default 2s.",
    )

    @model_validator(mode="after")
    def _one(self) -> JwksFields:
        if (self.inline is None) == (self.uri is None):
            raise wrong("keys are either inline or somewhere", "Give exactly one of inline and uri")
        if self.uri is None and (self.service is not None or self.ca_file is not None):
            raise wrong("inline keys are not fetched", "Remove service and caFile, or give uri")
        if self.service is not None and self.ca_file is not None:
            raise wrong("a service says itself which TLS is spoken to it", "Remove caFile")
        if (
            self.uri is not None
            and self.service is None
            and self.uri.startswith("https:")
            and is_address(self.uri)
        ):
            raise wrong(
                f"no certificate is for an address: {self.uri}", "Use a host name, or an ExternalService"
            )
        return self


class TokenPlaceFields(Part):
    """One of `header`, `query` and `cookie`."""

    header: HeaderName | None = Field(None, description="A header of the request.")
    prefix: str | None = Field(
        None, description="What stands before the token in that header, a space included. By default nothing."
    )
    query: str | None = Field(None, min_length=1, description="A parameter of the query.")
    cookie: Annotated[str, AfterValidator(_token)] | None = Field(None, description="A cookie.")

    @model_validator(mode="after")
    def _one(self) -> TokenPlaceFields:
        given = [each for each in (self.header, self.query, self.cookie) if each is not None]
        if len(given) != 1:
            raise wrong(
                f"a token is looked for in {len(given)} places at once",
                "Give one of header, query and cookie",
            )
        if self.prefix is not None and self.header is None:
            raise wrong("only a header has a prefix", "Remove prefix")
        return self

    def value(self) -> messages.Place:
        return messages.Place(self.header or "", self.prefix or "", self.query or "", self.cookie or "")


class ClaimFields(Part):
    claim: str = Field(
        min_length=1,
        max_length=256,
        description="The name of the claim; dots lead into objects, as in `realm_access.tenant`.",
    )
    header: HeaderName = Field(
        description="The header in which the application gets it: text, numbers and true or false as they are, lists and objects as "
        "JSON in base64url. What a client says in this header is dropped from every request."
    )


class IssuerFields(Part):
    name: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        description="What rules call it. By default what `issuer` says.",
    )
    issuer: str = Field(
        min_length=1, max_length=1024, description="What the claim `iss` of its tokens says, exactly."
    )
    audiences: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="One of these must be in the claim `aud`. By default tokens for anybody are taken, which is seldom what you want: a "
        "token that was made for another service then opens this one, too.",
    )
    jwks: JwksFields = Field(description="The keys by which its tokens are verified.")
    tokens: list[TokenPlaceFields] = Field(
        [],
        max_length=8,
        description="Where tokens are looked for. By default `Authorization: Bearer`. A request with several tokens needs all to be valid.",
    )
    claims: list[ClaimFields] = Field(
        [],
        max_length=32,
        description="What the application is told of a valid token, each in a header of its own.",
    )
    payload_header: HeaderName | None = Field(
        None,
        description="A header in which the application gets all claims, as JSON in base64url. By default none.",
    )
    forward: bool = Field(
        True,
        description="Whether the token itself is passed on. By default true: the next service may have to verify it, too. A cookie is "
        "passed on in any case.",
    )
    clock_skew: PositiveDuration = Field(
        "60s",
        description="How far the clocks of issuer and proxy may be apart: a token is good for so long before and after its time. In whole "
        "seconds. By default 60s.",
    )
    require_expiration: bool = Field(
        True, description="Whether tokens that never expire are refused. By default true."
    )
    max_lifetime: PositiveDuration | None = Field(
        None,
        description="Tokens that are good for longer than this are refused. By default there is no limit.",
    )

    @property
    def called(self) -> str:
        """What rules call it."""
        return self.name or self.issuer


class AuthenticationRuleFields(Part):
    match: RequestMatchFields = Field(description="Which requests it is about.")
    mode: Mode = Field(
        description="`required`: without a valid token a request is answered 401. `optional`: one without a token passes, one with an "
        "invalid token is refused. `off`: tokens are not looked at."
    )
    issuers: list[str] | None = Field(
        None, min_length=1, description="By name: tokens of these alone count. By default all of the policy."
    )
    allow_invalid: bool = Field(
        False,
        description="With `optional`: a request with an invalid token passes, too, as if it had none. The token is passed on; its claims are not.",
    )


class RequestAuthenticationFields(Part):
    issuers: list[IssuerFields] | None = Field(
        None,
        max_length=32,
        description="Whose tokens are believed. Where policies say a mode or rules and no issuer, no token is.",
    )
    mode: Mode | None = Field(
        None,
        description="For requests that no rule is about: `required`, `optional` or `off`, as in rules. By default required.",
    )
    allow_invalid: bool | None = Field(
        None, description="With mode `optional`, as in rules. By default false."
    )
    rules: list[AuthenticationRuleFields] | None = Field(
        None, max_length=64, description="The first whose match a request meets counts."
    )


class RequestAuthenticationSpec(Targeting, RequestAuthenticationFields):
    pass


class RequestAuthentication(PolicyDocument):
    """Which JSON Web Tokens are believed, and which requests need one.

    A token must be signed by a key of its issuer, be for one of the audiences, and be used in its time; else the answer is 401, and 403
    for one that is for others. The answer says what is wrong with the token (RFC 6750); which policy refused it is in the access log, in the field
    `policy`, with the reason in `details`. While a proxy has no keys of an issuer, its tokens are refused. Whom a valid token
    allows what is said by AccessPolicy, by the claims.

    It concerns HTTP, in plain text or gRPC; connections to TCP ports have no tokens. A change holds for new connections at once; those
    that are open are drained within 45 seconds, and no request is lost.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["RequestAuthentication"]
    spec: RequestAuthenticationSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        yield from self.callers_not_told_apart()
        if spec.issuers is None and spec.mode is None and spec.rules is None:
            yield Problem(("spec",), "nothing is said of tokens", "Add issuers, or mode and rules")
        issuers = spec.issuers or []
        named = [each.called for each in issuers]
        yield from repeated(("spec", "issuers"), "name", named, "name")
        for place, each in enumerate(issuers):
            yield from _header_problems(("spec", "issuers", place), each)
        if spec.allow_invalid and spec.mode not in {None, "optional"}:
            yield _allows_nothing(("spec", "allowInvalid"), spec.mode)
        for place, rule in enumerate(spec.rules or ()):
            at: tuple[str | int, ...] = ("spec", "rules", place)
            if rule.allow_invalid and rule.mode != "optional":
                yield _allows_nothing((*at, "allowInvalid"), rule.mode)
            if rule.issuers is not None and rule.mode == "off":
                yield Problem((*at, "issuers"), "with mode off no token is looked at", "Remove issuers")
            for number, name in enumerate(rule.issuers or ()):
                if spec.issuers is not None and name not in named:
                    yield Problem(
                        (*at, "issuers", number),
                        f"there is no issuer {name!r} in this policy",
                        f"Use {' or '.join(named) or 'one that you add to issuers'}",
                    )

    def value(self, origin: tuple[str, ...]) -> Policy:
        spec: dict[str, Any] = said(self.spec)
        for issuer in spec.get("issuers") or ():
            in_namespace(issuer["jwks"].get("service"), self.metadata.namespace)
        return replace(super().value(origin), fields=freeze(spec))


def _allows_nothing(at: tuple[str | int, ...], mode: str | None) -> Problem:
    return Problem(at, f"with mode {mode} it has no meaning", "Use mode: optional, or remove it")


def _header_problems(at: tuple[str | int, ...], issuer: IssuerFields) -> Iterator[Problem]:
    told: list[tuple[tuple[str | int, ...], str]] = [
        ((*at, "claims", place, "header"), each.header) for place, each in enumerate(issuer.claims)
    ]
    if issuer.payload_header is not None:
        told.append(((*at, "payloadHeader"), issuer.payload_header))
    places = {each.header for each in issuer.tokens} if issuer.tokens else {BEARER.header}
    seen: set[str] = set()
    for path, header in told:
        if header in NOT_OURS:
            yield Problem(path, f"{header} means something to proxies", "Use another header, like x-user")
        elif header in places:
            yield Problem(path, f"the token itself is in {header}", "Use another header, like x-user")
        elif header in seen:
            yield Problem(path, f"header {header} is used twice", "Give each claim a header of its own")
        seen.add(header)


def effect(fields: RequestAuthenticationFields, where: Where) -> Parts:
    if not where.protocol.is_http:
        return NOTHING
    issuers, resources, called = _issuers(fields.issuers or ())
    known = tuple(issuers)
    rules = [
        (conditions, _need(rule.mode, known, rule.issuers, allow_invalid=rule.allow_invalid))
        for rule in fields.rules or ()
        for conditions in rule.match.alternatives(ambiguous=rule.mode == "required")
    ]
    otherwise = _need(fields.mode or "required", known, None, allow_invalid=bool(fields.allow_invalid))
    headers = [
        header
        for each in issuers.values()
        for header in (*(to for _, to in each.claims), each.payload_header)
    ]
    manager = messages.without_headers(each for each in headers if each)
    if otherwise is None and all(need is None for _, need in rules):
        return Parts(manager=manager)
    route = Route()
    name_policy(route, RequestAuthentication.__name__, where.policy)
    return Parts(
        route=serialised(route),
        manager=manager,
        http_filters=(messages.authentication(tuple(issuers.values()), rules, otherwise),),
        resources=tuple(dict.fromkeys(resources)),
        called=tuple(dict.fromkeys(called)),
    )


def closed(where: Where) -> Parts:
    """Where it cannot be told which tokens are good, none is."""
    return effect(RequestAuthenticationFields.model_validate({}), where)


def _issuers(
    said: list[IssuerFields] | tuple[()],
) -> tuple[Mapping[str, messages.Issuer], list[ExtraResource], list[Called]]:
    """By name, and what proxies need to fetch their keys."""
    found: dict[str, messages.Issuer] = {}
    resources: list[ExtraResource] = []
    called: list[Called] = []
    for each in said:
        jwks: str | messages.Fetched = each.jwks.inline or ""
        if each.jwks.uri is not None:
            if each.jwks.service is not None:
                asked = each.jwks.service.called()
                called.append(asked)
                cluster = cluster_of(asked)
            else:
                resource = server("jwks", each.jwks.uri, each.jwks.ca_file)
                resources.append(resource)
                cluster = resource.name
            jwks = messages.Fetched(each.jwks.uri, cluster, each.jwks.timeout, each.jwks.cache)
        found[each.called] = messages.Issuer(
            name=each.called,
            issuer=each.issuer,
            audiences=tuple(each.audiences),
            jwks=jwks,
            places=tuple(place.value() for place in each.tokens) or (BEARER,),
            claims=tuple((claim.claim, claim.header) for claim in each.claims),
            payload_header=each.payload_header or "",
            forward=each.forward,
            clock_skew=max(1, int(seconds(each.clock_skew).total_seconds())),
            expiring=each.require_expiration,
            lifetime=each.max_lifetime or "",
        )
    return found, resources, called


def _need(
    mode: Mode, known: tuple[str, ...], named: list[str] | None, *, allow_invalid: bool
) -> messages.Need | None:
    """Of issuers that are named and not there, no token is taken: a policy nearer to the target may have replaced them."""
    if mode == "off":
        return None
    issuers = known if named is None else tuple(each for each in named if each in known)
    return messages.Need(issuers, missing=mode == "optional", invalid=mode == "optional" and allow_invalid)


KIND: Final = PolicyKind(
    RequestAuthentication,
    RequestAuthenticationFields,
    Side.CALLEE,
    effect,
    levels=ANYWHERE - {Level.ROUTE},
    named=True,
    closed=closed,
)
