"""External authorization: a service is asked whether a request may go on, and what is told to it and to others.

The filter stands disabled in connection managers as one that runs what a route says, so that routes alone say whom to ask: a change drains
no connection, and each route may ask another service.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/ext_authz_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/composite_filter
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from envoy.packing import pack, type_url
from envoy.seams import FilterOrder, HttpFilter, serialised
from pb.envoy.config.core.v3.config_source_pb2 import ApiVersion
from pb.envoy.config.route.v3.route_components_pb2 import FilterConfig, HeaderMatcher, Route
from pb.envoy.extensions.common.matching.v3.extension_matcher_pb2 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from pb.envoy.extensions.filters.http.composite.v3.composite_pb2 import Composite, ExecuteFilterAction
from pb.envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz, HttpService
from pb.envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from pb.envoy.type.matcher.v3.string_pb2 import ListStringMatcher
from pb.envoy.type.v3.http_status_pb2 import StatusCode
from pb.xds.type.matcher.v3.matcher_pb2 import Matcher
from pb.xds.type.matcher.v3.string_pb2 import StringMatcher

JWT: Final = "envoy.filters.http.jwt_authn"
"""The namespace of what a verified token claims."""
CALLER: Final = "x-forwarded-client-cert"
"""Who calls, as the proxy itself says it; no client can forge it."""
UNTOUCHABLE: Final = (
    "connection|content-.*|date|expect|host|keep-alive|proxy-.*|server|te|trailer|transfer-encoding|upgrade|x-mesh-.*"
    "|x-forwarded-(?:client-cert|for|host|port|proto)"
)
"""Headers that no authorization service changes: they frame a message or describe its body, or say who called."""
MOST_BODY: Final = 64 * 1024
"""Bytes of a refusal that a client is given."""


@dataclass(frozen=True, slots=True)
class Body:
    """Up to `most` bytes of the request's body are sent. A larger one is refused with 413, or cut if `partial`."""

    most: int
    partial: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """Who decides, and about what. Names of headers are in lower case; of those of requests None means the protocol's own choice.

    `upstream`: headers of a permission that are set in the request (None: all that may be). `client` and `client_on_success`: headers of a refusal, and of a
    permission, that the client gets; of gRPC the service itself says all these. `open`: what it does not answer is permitted; else it is answered
    with `status`. `host` is the authority of gRPC calls, `prefix` stands before the path of HTTP requests.
    """

    cluster: str
    grpc: bool
    timeout: timedelta
    host: str = ""
    prefix: str = ""
    headers: tuple[str, ...] | None = None
    added: tuple[tuple[str, str], ...] = ()
    upstream: tuple[str, ...] | None = ()
    client: tuple[str, ...] | None = None
    client_on_success: tuple[str, ...] = ()
    body: Body | None = None
    open: bool = False
    status: int = 503


def standing(name: str) -> HttpFilter:
    """The filter that routes enable, under a name of its own: of several, in the order of their names."""
    made = ExtensionWithMatcher()
    made.extension_config.name = "composite"
    pack(made.extension_config.typed_config, Composite())
    return HttpFilter(
        FilterOrder.AUTHORIZATION, name, type_url(ExtensionWithMatcher), serialised(made), disabled=True
    )


def on_route(
    route: Route,
    name: str,
    asked: Asked,
    some: Sequence[Sequence[HeaderMatcher]] = (),
    never: Sequence[Sequence[HeaderMatcher]] = (),
) -> None:
    """Make `route` ask about its requests: about those that meet all conditions of one of `some`, where there are any, and of none
    of `never`. Conditions are on headers, `:path` and the like among them.
    """
    execute, per_route = ExecuteFilterAction(), ExtensionWithMatcherPerRoute()
    execute.typed_config.name = "ext_authz"
    pack(execute.typed_config.typed_config, ext_authz(asked))
    matcher = per_route.xds_matcher
    if some or never:
        first = matcher.matcher_list.matchers.add()
        _predicate(first.predicate, some, never)
        on = first.on_match
    else:
        on = matcher.on_no_match
    on.action.name = "ask"
    pack(on.action.typed_config, execute)
    pack(route.typed_per_filter_config[name], per_route)


def off_route(route: Route, name: str) -> None:
    """Make `route` ask nobody, whatever else is said of it."""
    pack(route.typed_per_filter_config[name], FilterConfig(disabled=True))


def ext_authz(asked: Asked) -> ExtAuthz:
    made = ExtAuthz(
        transport_api_version=ApiVersion.V3,
        stat_prefix="external_authorization",
        failure_mode_allow=asked.open,
        validate_mutations=True,
        max_denied_response_body_bytes=MOST_BODY,
    )
    made.status_on_error.code = StatusCode.ValueType(asked.status)
    made.metadata_context_namespaces.append(JWT)
    rules = made.decoder_header_mutation_rules
    rules.disallow_system.value = True
    rules.disallow_expression.regex = f"(?i)(?:{UNTOUCHABLE})"
    if asked.body is not None:
        made.with_request_body.max_request_bytes = asked.body.most
        made.with_request_body.allow_partial_message = asked.body.partial
        made.with_request_body.pack_as_bytes = asked.body.raw
    if asked.grpc:
        service = made.grpc_service
        service.envoy_grpc.cluster_name, service.envoy_grpc.authority = asked.cluster, asked.host
        service.timeout.FromTimedelta(asked.timeout)
        for name, value in asked.added:
            service.initial_metadata.add(key=name, value=value)
        if asked.headers is not None:
            _named(made.allowed_headers, asked.headers)
    else:
        _http(made.http_service, asked)
        _named(made.allowed_headers, asked.headers or ())
    return made


def _http(made: HttpService, asked: Asked) -> None:
    made.server_uri.uri, made.server_uri.cluster = f"http://{asked.host or 'authorization'}", asked.cluster
    made.server_uri.timeout.FromTimedelta(asked.timeout)
    made.path_prefix = asked.prefix
    for name, value in asked.added:
        made.authorization_request.headers_to_add.add(key=name, value=value)
    answer = made.authorization_response
    if asked.upstream is None:
        # Which of all must not be is the business of the mutation rules, but for those that only an answer has.
        answer.allowed_upstream_headers.patterns.add().safe_regex.regex = "[^:].*"
    else:
        _named(answer.allowed_upstream_headers, asked.upstream)
    if asked.client is not None:
        _named(answer.allowed_client_headers, asked.client)
    _named(answer.allowed_client_headers_on_success, asked.client_on_success)


def _named(made: ListStringMatcher, names: Iterable[str]) -> None:
    for name in dict.fromkeys(names):
        made.patterns.add(exact=name, ignore_case=True)


def _predicate(
    made: Matcher.MatcherList.Predicate,
    some: Sequence[Sequence[HeaderMatcher]],
    never: Sequence[Sequence[HeaderMatcher]],
) -> None:
    wanted, unwanted = Matcher.MatcherList.Predicate(), Matcher.MatcherList.Predicate()
    _any(wanted, some)
    _any(unwanted.not_matcher, never)
    if some and never:
        made.and_matcher.predicate.extend((wanted, unwanted))
    else:
        made.CopyFrom(wanted if some else unwanted)


def _any(made: Matcher.MatcherList.Predicate, alternatives: Sequence[Sequence[HeaderMatcher]]) -> None:
    """Envoy takes lists of two and more only."""
    each = [_all(conditions) for conditions in alternatives]
    if len(each) == 1:
        made.CopyFrom(each[0])
    elif each:
        made.or_matcher.predicate.extend(each)


def _all(conditions: Sequence[HeaderMatcher]) -> Matcher.MatcherList.Predicate:
    made = Matcher.MatcherList.Predicate()
    each = [_one(condition) for condition in conditions] or [_one(HeaderMatcher(name=":method"))]
    if len(each) == 1:
        return each[0]
    made.and_matcher.predicate.extend(each)
    return made


def _one(condition: HeaderMatcher) -> Matcher.MatcherList.Predicate:
    made = Matcher.MatcherList.Predicate()
    single = made.single_predicate
    single.input.name = condition.name
    pack(single.input.typed_config, HttpRequestHeaderMatchInput(header_name=condition.name))
    said = condition.string_match
    to: StringMatcher = single.value_match
    match said.WhichOneof("match_pattern"):
        case "exact":
            to.exact = said.exact
        case "prefix":
            to.prefix = said.prefix
        case "suffix":
            to.suffix = said.suffix
        case "contains":
            to.contains = said.contains
        case "safe_regex":
            _regex(to, said.safe_regex.regex)
        case _:
            _regex(to, "(?s).*")  # it is there
    if not condition.invert_match:
        return made
    inverted = Matcher.MatcherList.Predicate()
    inverted.not_matcher.CopyFrom(made)
    return inverted


def _regex(made: StringMatcher, regex: str) -> None:
    made.safe_regex.google_re2.SetInParent()
    made.safe_regex.regex = regex
