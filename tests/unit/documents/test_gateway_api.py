"""Right documents of the Gateway API, and the values that they become."""

from __future__ import annotations

import datetime as dt
import json
from datetime import timedelta

import pytest

from documents.envelope import Kind
from documents.kinds import GATEWAY_API, KINDS
from documents.parsing import parse
from documents.schema import schemas
from mesh.gateways import (
    AllowedRoutes,
    BackendTlsPolicy,
    ClientValidation,
    FromNamespaces,
    Gateway,
    GatewayListener,
    GrantFrom,
    GrantTo,
    ListenerProtocol,
    ListenerTls,
    ObjectRef,
    Operator,
    ReferenceGrant,
    Requirement,
    Selector,
    SubjectKind,
    SubjectName,
    TlsMode,
    TlsTarget,
)
from mesh.names import Key
from mesh.routes import (
    Backend,
    BackendKind,
    Cors,
    Filter,
    Fraction,
    GrpcMethod,
    Header,
    Match,
    ParentKind,
    ParentRef,
    PathKind,
    PathMatch,
    PathRewrite,
    RequestHeaderModifier,
    RequestMirror,
    RequestRedirect,
    ResponseHeaderModifier,
    Retry,
    RewriteKind,
    Route,
    RouteKind,
    Rule,
    SessionKind,
    SessionPersistence,
    Subset,
    Timeouts,
    UrlRewrite,
    ValueKind,
    ValueMatch,
)
from tests.support.builders import a_key
from tests.support.route_documents import (
    GROUP,
    TO_API,
    gateway,
    gateway_api,
    grpc_match,
    grpc_route,
    http_filter,
    http_match,
    http_route,
    http_rule,
)
from tests.support.routes import at_gateway, at_service, to


def value(text: str) -> object:
    parsed = parse("a.yaml", text.encode())
    assert [str(error) for error in parsed.errors] == []
    (document,) = parsed.documents
    hash(document.value)  # Values are keys of what is memoised.
    return document.value


def route(text: str) -> Route:
    found = value(text)
    assert isinstance(found, Route)
    return found


def rule(text: str) -> Rule:
    (found,) = route(text).rules
    return found


def test_the_route_of_the_design() -> None:
    text = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, creationTimestamp: 2026-01-02T03:04:05Z}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /beta}}]
    backendRefs: [{group: meshwright.dev, kind: ServiceSubset, name: api-v2, port: 80}]
  - backendRefs: [{name: api, port: 80}]
"""
    found = route(text)
    assert found == Route(
        kind=RouteKind.HTTP,
        key=Key("default", "api"),
        parents=(ParentRef(ParentKind.SERVICE, Key("default", "api")),),
        rules=(
            Rule(
                matches=(Match(PathMatch(PathKind.PREFIX, "/beta")),),
                backends=(Backend(BackendKind.SUBSET, Key("default", "api-v2"), 80),),
            ),
            Rule(matches=(Match(PathMatch(PathKind.PREFIX, "/")),), backends=(to("api"),)),
        ),
        created=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    )
    assert found.origin == ("a.yaml#1 HTTPRoute default/api",)
    assert [str(backend) for backend in found.backends()] == [
        "ServiceSubset default/api-v2:80",
        "Service default/api:80",
    ]


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ('group: "", kind: Service, name: api', at_service("shop/api")),
        ("kind: Service, name: api", at_service("shop/api")),
        ("group: meshwright.dev, kind: Service, name: api, port: 81", at_service("shop/api", 81)),
        (
            "kind: Service, name: api, namespace: other, sectionName: http",
            at_service("other/api", section="http"),
        ),
        ("name: gw", at_gateway("shop/gw")),
        (f"group: {GROUP}, kind: Gateway, name: gw, namespace: edge, port: 80", at_gateway("edge/gw", 80)),
    ],
)
def test_parents(parent: str, expected: ParentRef) -> None:
    assert route(gateway_api("HTTPRoute", f"parentRefs: [{{{parent}}}]", "shop/api")).parents == (expected,)


def test_one_parent_may_be_named_several_times_if_its_parts_are_told_apart() -> None:
    found = route(gateway_api("HTTPRoute", "parentRefs: [{name: gw, port: 80}, {name: gw, port: 81}]"))
    assert found.parents == (at_gateway(port=80), at_gateway(port=81))


def test_without_rules_everything_matches() -> None:
    found = route(http_route('hostnames: [a.com, "*.b.com"]'))
    assert found.rules == (Rule(matches=(Match(PathMatch(PathKind.PREFIX, "/")),)),)
    assert found.hostnames == ("a.com", "*.b.com")


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("", Match(PathMatch(PathKind.PREFIX, "/"))),
        ("path: {}", Match(PathMatch(PathKind.PREFIX, "/"))),
        ("path: {value: /a/}", Match(PathMatch(PathKind.PREFIX, "/a"))),
        ("path: {type: Exact, value: /a/}", Match(PathMatch(PathKind.EXACT, "/a/"))),
        ("path: {type: RegularExpression, value: /a.*}", Match(PathMatch(PathKind.REGEX, "/a.*"))),
        ("method: PATCH", Match(PathMatch(PathKind.PREFIX, "/"), "PATCH")),
        (
            # Of headers that differ in case only, the first counts.
            "headers: [{name: X-A, value: b}, {name: x-a, value: c}, {name: y, value: d.*, type: RegularExpression}]",
            Match(
                PathMatch(PathKind.PREFIX, "/"),
                headers=(ValueMatch("x-a", "b"), ValueMatch("y", "d.*", ValueKind.REGEX)),
            ),
        ),
        (
            "queryParams: [{name: A, value: b}, {name: a, value: c}]",
            Match(PathMatch(PathKind.PREFIX, "/"), query=(ValueMatch("A", "b"), ValueMatch("a", "c"))),
        ),
    ],
)
def test_http_matches(match: str, expected: Match) -> None:
    assert rule(http_match(match)).matches == (expected,)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (
            (
                "type: RequestHeaderModifier, requestHeaderModifier: "
                "{set: [{name: A, value: b}], add: [{name: c, value: d}], remove: [E]}"
            ),
            RequestHeaderModifier((Header("a", "b"),), (Header("c", "d"),), ("e",)),
        ),
        (
            "type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}",
            ResponseHeaderModifier(remove=("server",)),
        ),
        ("type: RequestRedirect, requestRedirect: {}", RequestRedirect()),
        (
            (
                "type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.b, port: 8443, statusCode: 308, "
                "path: {type: ReplaceFullPath, replaceFullPath: /x}}"
            ),
            RequestRedirect("https", "a.b", PathRewrite(RewriteKind.FULL, "/x"), 8443, 308),
        ),
        (
            "type: URLRewrite, urlRewrite: {hostname: a.b, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x/}}",
            UrlRewrite("a.b", PathRewrite(RewriteKind.PREFIX, "/x")),
        ),
        (
            'type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ""}}',
            UrlRewrite(None, PathRewrite(RewriteKind.PREFIX, "")),
        ),
        (
            "type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}",
            UrlRewrite(None, PathRewrite(RewriteKind.PREFIX, "")),
        ),
        ("type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}}", RequestMirror(to("api"))),
        (
            "type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}, percent: 0}",
            RequestMirror(to("api"), Fraction(0, 100)),
        ),
        (
            (
                "type: RequestMirror, requestMirror: "
                "{backendRef: {name: api, port: 80}, fraction: {numerator: 1, denominator: 1000}}"
            ),
            RequestMirror(to("api"), Fraction(1, 1000)),
        ),
        (
            "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a.b}]}",
            RequestHeaderModifier((Header("host", "a.b"),)),
        ),
        ("type: CORS, cors: {}", Cors()),
        (
            (
                'type: CORS, cors: {allowOrigins: ["https://*.a.com", "http://b.com:8080"], allowCredentials: true, '
                'allowMethods: ["*"], allowHeaders: [X-A], exposeHeaders: ["*", X-B], maxAge: 60}'
            ),
            Cors(("https://*.a.com", "http://b.com:8080"), True, ("*",), ("x-a",), ("*", "x-b"), 60),
        ),
    ],
)
def test_http_filters(one: str, expected: Filter) -> None:
    assert rule(http_filter(one)).filters == (expected,)


def test_the_prefix_that_a_rule_does_not_name_is_the_root() -> None:
    rewrite = "type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1}}"
    assert rule(http_rule(f"matches: [], filters: [{{{rewrite}}}]")).matches == (
        Match(PathMatch(PathKind.PREFIX, "/")),
    )


def test_mirrors_may_be_several() -> None:
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: %s, port: 80}}}"
    found = route(http_rule(f"filters: [{mirror % 'a'}, {mirror % 'b'}], {TO_API}"))
    assert [str(each) for each in found.backends()] == [
        "Service default/api:80",
        "Service default/a:80",
        "Service default/b:80",
    ]


def test_weights_and_filters_of_backends() -> None:
    found = rule(
        http_rule(
            "backendRefs: [{name: a, port: 80, weight: 90}, {name: b, namespace: other, port: 81, weight: 0, "
            "filters: [{type: URLRewrite, urlRewrite: {hostname: b.com, path: {type: ReplaceFullPath, replaceFullPath: /b}}}]}, "
            "{group: meshwright.dev, kind: ExternalService, name: c}]"
        )
    )
    assert found.backends == (
        to("a", 80, 90),
        Backend(
            BackendKind.SERVICE,
            Key("other", "b"),
            81,
            0,
            (UrlRewrite("b.com", PathRewrite(RewriteKind.FULL, "/b")),),
        ),
        Backend(BackendKind.EXTERNAL, Key("default", "c")),
    )


def test_timeouts_retries_and_sessions() -> None:
    found = rule(
        http_rule(
            "name: a, timeouts: {request: 10s, backendRequest: 2s500ms}, "
            "retry: {codes: [500, 503], attempts: 3, backoff: 25ms}, "
            "sessionPersistence: {sessionName: s, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}"
        )
    )
    assert found.name == "a"
    assert found.timeouts == Timeouts(timedelta(seconds=10), timedelta(seconds=2.5))
    assert found.retry == Retry((500, 503), 3, timedelta(milliseconds=25))
    assert found.persistence == SessionPersistence(
        SessionKind.COOKIE, "s", timedelta(hours=1), permanent=True
    )


def test_zero_is_no_timeout_and_less_than_nothing_else() -> None:
    found = rule(
        http_rule(
            "timeouts: {request: 0s, backendRequest: 5s}, retry: {}, sessionPersistence: {type: Header}"
        )
    )
    assert found.timeouts == Timeouts(timedelta(), timedelta(seconds=5))
    assert found.retry == Retry()
    assert found.persistence == SessionPersistence(SessionKind.HEADER)


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        (
            "service: shop.Baskets, method: Add",
            PathMatch(PathKind.EXACT, "/shop.Baskets/Add"),
            GrpcMethod("shop.Baskets", "Add"),
        ),
        (
            "service: shop.Baskets",
            PathMatch(PathKind.PREFIX, "/shop.Baskets/"),
            GrpcMethod("shop.Baskets", None),
        ),
        ("method: Add", PathMatch(PathKind.REGEX, "/[^/]+/Add"), GrpcMethod(None, "Add")),
        (
            'type: RegularExpression, service: "shop|cart", method: "Add.*"',
            PathMatch(PathKind.REGEX, "/(?:shop|cart)/(?:Add.*)"),
            GrpcMethod("shop|cart", "Add.*", ValueKind.REGEX),
        ),
        (
            "type: RegularExpression, service: shop.*",
            PathMatch(PathKind.REGEX, "/(?:shop.*)/[^/]+"),
            GrpcMethod("shop.*", None, ValueKind.REGEX),
        ),
    ],
)
def test_grpc_matches_become_paths(method: str, path: PathMatch, said: GrpcMethod) -> None:
    assert rule(grpc_match(f"method: {{{method}}}")).matches == (Match(path, grpc=said),)


def test_a_grpc_rule_without_matches_matches_every_call() -> None:
    found = route(
        grpc_route(f"rules: [{{{TO_API}}}, {{matches: [{{headers: [{{name: A, value: b}}]}}], {TO_API}}}]")
    )
    assert found.kind is RouteKind.GRPC
    assert [rule.matches for rule in found.rules] == [
        (Match(),),
        (Match(headers=(ValueMatch("a", "b"),)),),
    ]


def test_tcp_and_tls_routes() -> None:
    backends = "rules: [{backendRefs: [{name: a, port: 1, weight: 9}, {name: b, port: 1}]}]"
    tcp = route(gateway_api("TCPRoute", f"parentRefs: [{{kind: Service, name: db}}], {backends}"))
    assert (tcp.kind, tcp.parents) == (RouteKind.TCP, (at_service("db"),))
    assert tcp.rules == (Rule(backends=(to("a", 1, 9), to("b", 1))),)
    tls = route(
        gateway_api("TLSRoute", f'parentRefs: [{{name: gw}}], hostnames: [a.com, "*.b.com"], {backends}')
    )
    assert (tls.kind, tls.hostnames, tls.rules) == (RouteKind.TLS, ("a.com", "*.b.com"), tcp.rules)


def test_a_gateway() -> None:
    text = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  gatewayClassName: meshwright
  addresses: [{value: 127.0.0.1}, {type: IPAddress, value: "::1"}]
  infrastructure: {labels: {tier: edge}}
  listeners:
  - {name: http, port: 80, protocol: http}
  - name: https
    port: 443
    protocol: HTTPS
    hostname: "*.example.com"
    tls: {certificateRefs: [{name: cert}, {name: other, namespace: keys}]}
    allowedRoutes:
      kinds: [{kind: HTTPRoute}]
      namespaces:
        from: Selector
        selector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: NotIn, values: [d]}]}
  - {name: pass, port: 443, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}
  - {name: end, port: 444, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: cert}]}}
  - {name: db, port: 5432, protocol: TCP}
  tls:
    backend: {clientCertificateRef: {name: client}}
    frontend:
      default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca, namespace: keys}]}}
      perPort:
      - {port: 444, tls: {validation: {caCertificateRefs: [{kind: Secret, name: ca}], mode: AllowInsecureFallback}}}
      - {port: 445, tls: {}}
"""
    http = (RouteKind.HTTP, RouteKind.GRPC)
    cert, other = ObjectRef("Secret", Key("edge", "cert")), ObjectRef("Secret", Key("keys", "other"))
    selector = Selector((Requirement("a", Operator.IN, ("b",)), Requirement("c", Operator.NOT_IN, ("d",))))
    found = value(text)
    assert found == Gateway(
        key=Key("edge", "gw"),
        class_name="meshwright",
        listeners=(
            GatewayListener("http", 80, ListenerProtocol.HTTP, AllowedRoutes(http)),
            GatewayListener(
                "https",
                443,
                ListenerProtocol.HTTPS,
                AllowedRoutes((RouteKind.HTTP,), FromNamespaces.SELECTOR, selector),
                "*.example.com",
                ListenerTls(TlsMode.TERMINATE, (cert, other)),
            ),
            GatewayListener(
                "pass",
                443,
                ListenerProtocol.TLS,
                AllowedRoutes((RouteKind.TLS,), FromNamespaces.ALL),
                None,
                ListenerTls(TlsMode.PASSTHROUGH),
            ),
            GatewayListener(
                "end",
                444,
                ListenerProtocol.TLS,
                AllowedRoutes((RouteKind.TLS, RouteKind.TCP)),
                None,
                ListenerTls(TlsMode.TERMINATE, (cert,)),
            ),
            GatewayListener("db", 5432, ListenerProtocol.TCP, AllowedRoutes((RouteKind.TCP,))),
        ),
        addresses=("127.0.0.1", "::1"),
        clients=ClientValidation((ObjectRef("ConfigMap", Key("keys", "ca")),)),
        clients_by_port=(
            (444, ClientValidation((ObjectRef("Secret", Key("edge", "ca")),), optional=True)),
            (445, None),
        ),
        client_certificate=ObjectRef("Secret", Key("edge", "client")),
        labels=(("tier", "edge"),),
    )
    assert isinstance(found, Gateway)
    assert found.client_validation(443) == found.clients
    assert found.client_validation(445) is None


def test_listeners_of_one_port_are_told_apart_by_host_name() -> None:
    found = value(
        gateway(
            "name: a, port: 80, protocol: HTTP",
            "name: b, port: 80, protocol: HTTP, hostname: b.com",
            'name: c, port: 80, protocol: HTTP, hostname: "*.b.com"',
        )
    )
    assert isinstance(found, Gateway)
    assert [listener.hostname for listener in found.listeners] == [None, "b.com", "*.b.com"]


def test_a_reference_grant() -> None:
    text = gateway_api(
        "ReferenceGrant",
        f"from: [{{group: {GROUP}, kind: HTTPRoute, namespace: shop}}, {{group: {GROUP}, kind: Gateway, namespace: edge}}], "
        'to: [{group: "", kind: Service, name: api}, {group: meshwright.dev, kind: ServiceSubset}]',
        "pay/grant",
    )
    found = value(text)
    assert found == ReferenceGrant(
        Key("pay", "grant"),
        (GrantFrom("HTTPRoute", "shop"), GrantFrom("Gateway", "edge")),
        (GrantTo("Service", "api"), GrantTo("ServiceSubset")),
    )
    assert isinstance(found, ReferenceGrant)
    assert found.permits("HTTPRoute", "shop", "Service", "api")
    assert found.permits("Gateway", "edge", "ServiceSubset", "any")
    assert not found.permits("HTTPRoute", "shop", "Service", "other")
    assert not found.permits("GRPCRoute", "shop", "Service", "api")
    assert not found.permits("HTTPRoute", "edge", "Service", "api")


def test_a_backend_tls_policy() -> None:
    text = gateway_api(
        "BackendTLSPolicy",
        'targetRefs: [{group: "", kind: Service, name: a, sectionName: https}, '
        "{group: meshwright.dev, kind: ExternalService, name: b}], "
        'validation: {hostname: a.b, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], '
        'subjectAltNames: [{type: Hostname, hostname: "*.a.b"}, {type: URI, uri: "spiffe://td/ns/a/sa/b"}]}',
    )
    assert value(text) == BackendTlsPolicy(
        key=a_key("api"),
        targets=(
            TlsTarget(BackendKind.SERVICE, a_key("a"), "https"),
            TlsTarget(BackendKind.EXTERNAL, a_key("b")),
        ),
        hostname="a.b",
        authorities=(ObjectRef("ConfigMap", a_key("ca")),),
        names=(
            SubjectName(SubjectKind.HOSTNAME, "*.a.b"),
            SubjectName(SubjectKind.URI, "spiffe://td/ns/a/sa/b"),
        ),
    )


def test_the_authorities_of_the_system() -> None:
    text = "targetRefs: [{name: a}], validation: {hostname: a.b, wellKnownCACertificates: System}"
    found = value(gateway_api("BackendTLSPolicy", text))
    assert isinstance(found, BackendTlsPolicy)
    assert found.authorities is None


def test_a_subset() -> None:
    text = """\
apiVersion: meshwright.dev/v1alpha1
kind: ServiceSubset
metadata: {name: api-v2, namespace: shop}
spec: {service: api, labels: {version: v2, beta: "true"}}
"""
    labels = (("beta", "true"), ("version", "v2"))
    assert value(text) == Subset(Key("shop", "api-v2"), Key("shop", "api"), labels)


SPECS = {
    "HTTPRoute": "parentRefs: [{name: gw}]",
    "GRPCRoute": "parentRefs: [{name: gw}]",
    "TCPRoute": f"rules: [{{{TO_API}}}]",
    "TLSRoute": f"hostnames: [a.b], rules: [{{{TO_API}}}]",
    "UDPRoute": f"rules: [{{{TO_API}}}]",
    "Gateway": "gatewayClassName: meshwright, listeners: [{name: a, port: 80, protocol: HTTP}]",
    "ListenerSet": "parentRef: {name: gw}, listeners: [{name: a, port: 80, protocol: HTTP}]",
    "ReferenceGrant": (
        f'from: [{{group: {GROUP}, kind: HTTPRoute, namespace: a}}], to: [{{group: "", kind: Service}}]'
    ),
    "BackendTLSPolicy": "targetRefs: [{name: a}], validation: {hostname: a.b, wellKnownCACertificates: System}",
}


@pytest.mark.parametrize("kind", GATEWAY_API, ids=str)
def test_every_published_version_of_a_kind_says_the_same(kind: Kind) -> None:
    spec, version = SPECS[kind.name], kind.api_version.rpartition("/")[2]
    assert value(gateway_api(kind.name, spec, version=version)) == value(gateway_api(kind.name, spec))


def test_each_kind_has_a_schema() -> None:
    found = schemas(KINDS)
    assert f"HTTPRoute.{GROUP}/v1" in found
    grant = json.dumps(found[f"ReferenceGrant.{GROUP}/v1"])
    assert '"from"' in grant
    assert '"sources"' not in grant
