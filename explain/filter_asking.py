"""Filters whose answer depends on more than the request: on somebody who is asked, on counters, or on code. An explanation goes on as if
they let the request pass, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.any_pb2 import Any

from explain import matching
from explain.answer import Source
from explain.request import Request
from explain.sight import Passing, Sight
from explain.wording import duration
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.common.matching.v3.extension_matcher_pb2 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from pb.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import BufferPerRoute
from pb.envoy.extensions.filters.http.composite.v3.composite_pb2 import ExecuteFilterAction
from pb.envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from pb.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from pb.envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from pb.xds.type.matcher.v3.matcher_pb2 import Matcher
from pb.xds.type.matcher.v3.string_pb2 import StringMatcher


def matched(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    """A filter that runs others where the request meets conditions."""
    if own is not None:
        matcher = ExtensionWithMatcherPerRoute.FromString(own.value).xds_matcher
    else:
        matcher = ExtensionWithMatcher.FromString(standing.value).xds_matcher
    passing = Passing(request)
    for packed in _actions(matcher, request):
        kind = packed.type_url.rpartition("/")[2]
        if kind == ExtAuthz.DESCRIPTOR.full_name:
            passing = passing.then(authorization(packed, None, route, passing.request, sight))
        else:
            passing = passing.then(script(packed, None, route, passing.request, sight))
    return passing


def authorization(
    standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight
) -> Passing:
    del own, route
    asked = ExtAuthz.FromString(standing.value)
    by_grpc = asked.HasField("grpc_service")
    whom = asked.grpc_service.envoy_grpc.cluster_name if by_grpc else asked.http_service.server_uri.cluster
    sources = sight.said("ExternalAuthorization") or _rule(sight)
    silent = (
        "the request goes on" if asked.failure_mode_allow else f"it is answered {asked.status_on_error.code}"
    )
    details = (f"if {whom} does not answer, {silent}",)
    said = f"{whom} is asked by {'gRPC' if by_grpc else 'HTTP'} whether it may go on"
    caution = f"{whom} is asked about the request by {sight.whose}: that it permits is taken for granted"
    return Passing(request, (sight.step("authorization", said, details, sources),), cautions=(caution,))


def local_limit(
    standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight
) -> Passing:
    del route
    config = LocalRateLimit.FromString((own if own is not None else standing).value)
    # Beside descriptors, the bucket of the filter itself is for what none of them means.
    whole = [config.token_bucket] if config.HasField("token_bucket") else []
    buckets = [each.token_bucket for each in config.descriptors] or whole
    rates = tuple(
        f"at most {each.max_tokens} at once, {each.tokens_per_fill.value or 1} more every {duration(each.fill_interval)}"
        for each in buckets
        if each.max_tokens and each.fill_interval.ByteSize()
    )
    return _limited(request, sight, "a limit of each sidecar for itself", rates)


def shared_limit(
    standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight
) -> Passing:
    del standing, own, route
    return _limited(request, sight, "a limit that the mesh shares", ())


def buffer(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    del standing, route
    most = BufferPerRoute.FromString(own.value).buffer.max_request_bytes.value if own is not None else 0
    said = (
        f"waits for the whole body; one over {most} bytes is answered 413"
        if most
        else "waits for the whole body"
    )
    return Passing(request, (sight.step("buffer", said, (), sight.said("Buffering")),))


def concurrency(
    standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight
) -> Passing:
    del standing, own, route
    said = "counts against how many requests the application can take at once; one too many is answered 503"
    caution = f"how many requests are in progress at {sight.whose} is limited: that there is room is taken for granted"
    return Passing(
        request, (sight.step("concurrency", said, (), sight.said("Concurrency")),), cautions=(caution,)
    )


def session(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    del standing, route
    if own is None:
        return Passing(request)
    said = "a request of a session goes to the endpoint that took the first, while it is there"
    return Passing(request, (sight.step("session", said, (), _rule(sight)),))


def script(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    del standing, own, route
    sources = sight.said("Extension")
    caution = f"code of an Extension runs at {sight.whose}: what it does with the request is not known here"
    step = sight.step("extension", "code of an Extension is run", (), sources)
    return Passing(request, (step,), cautions=(caution,))


def _limited(request: Request, sight: Sight, what: str, rates: tuple[str, ...]) -> Passing:
    step = sight.step(
        "rate limit", f"counts against {what}; over it, it is answered 429", rates, sight.said("RateLimit")
    )
    caution = f"a rate limit counts the request at {sight.whose}: that it is not used up is taken for granted"
    return Passing(request, (step,), cautions=(caution,))


def _rule(sight: Sight) -> tuple[Source, ...]:
    rule = sight.rule
    if rule is None:
        return ()
    return (sight.blame.policy(rule.route.kind, rule.route.key, "spec", "rules", rule.place),)


def _actions(matcher: Matcher, request: Request) -> Iterable[Any]:
    """The filters that are run for a request, packed."""
    on = None
    for each in matcher.matcher_list.matchers:
        if _meets(each.predicate, request):
            on = each.on_match
            break
    if on is None and matcher.HasField("on_no_match"):
        on = matcher.on_no_match
    if on is not None and on.HasField("action") and on.action.typed_config.Is(ExecuteFilterAction.DESCRIPTOR):
        execute = ExecuteFilterAction.FromString(on.action.typed_config.value)
        if execute.HasField("typed_config"):
            yield execute.typed_config.typed_config
        yield from (each.typed_config for each in execute.filter_chain.typed_config)


def _meets(predicate: Matcher.MatcherList.Predicate, request: Request) -> bool:
    match predicate.WhichOneof("match_type"):
        case "or_matcher":
            return any(_meets(each, request) for each in predicate.or_matcher.predicate)
        case "and_matcher":
            return all(_meets(each, request) for each in predicate.and_matcher.predicate)
        case "not_matcher":
            return not _meets(predicate.not_matcher, request)
        case "single_predicate":
            single = predicate.single_predicate
            if not single.input.typed_config.Is(HttpRequestHeaderMatchInput.DESCRIPTOR):
                return False
            asked = HttpRequestHeaderMatchInput.FromString(single.input.typed_config.value)
            held = request.header(asked.header_name)
            return held is not None and _text(single.value_match, held)
        case _:
            return False


def _text(matcher: StringMatcher, value: str) -> bool:
    """As `matching.text`, for the xDS message of that name."""
    kind = matcher.WhichOneof("match_pattern")
    wanted, held = str(getattr(matcher, kind or "exact")), value
    if matcher.ignore_case:
        wanted, held = wanted.lower(), held.lower()
    match kind:
        case "exact":
            return held == wanted
        case "prefix":
            return held.startswith(wanted)
        case "suffix":
            return held.endswith(wanted)
        case "contains":
            return wanted in held
        case "safe_regex":
            return matching.expression(matcher.safe_regex.regex, value)
        case _:
            return False
