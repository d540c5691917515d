"""What limits are in Envoy's messages: descriptors of requests, buckets, and the service that counts for the whole mesh.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto#config-route-v3-ratelimit
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from google.protobuf.message import Message

from envoy import names
from envoy.packing import pack, type_url
from envoy.seams import FilterOrder, HttpFilter, Parts, serialised
from pb.envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from pb.envoy.config.core.v3.config_source_pb2 import ApiVersion
from pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RateLimit, Route
from pb.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import DRAFT_VERSION_03, LocalRateLimitDescriptor
from pb.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit as SharedRateLimit
from pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from pb.envoy.extensions.rate_limit_descriptors.expr.v3.expr_pb2 import Descriptor
from pb.envoy.type.v3.http_status_pb2 import StatusCode
from pb.envoy.type.v3.percent_pb2 import FractionalPercent
from policies.fields import set_duration

LOCAL: Final = "envoy.filters.http.local_ratelimit"
SHARED: Final = "envoy.filters.http.ratelimit"
EXPRESSION: Final = "envoy.rate_limit_descriptors.expr"
CALLERS_HEADER: Final = "x-forwarded-client-cert"
"""What the sidecar itself says of the certificate: `By=…;Hash=…;URI=spiffe://…`, one element, and the URI last."""

POLICY_KEY: Final = "policy"
CALLER_KEY: Final = "caller"
HEADER_KEY: Final = "header"
MATCH_KEY: Final = "matches"
LIMIT_KEY: Final = "limit"
"""The entry that carries a limit to who counts, as `<requests>/<unit>`."""

DOMAIN: Final = "meshwright"
"""Of the standing filters, which must name one; routes name the mesh's own."""
DEFAULT_TIMEOUT: Final = "50ms"

MOST_BUCKETS: Final = 10_000
"""Callers or values of a header that one sidecar keeps buckets for; of more, those that came longest ago begin anew."""

Unit = Literal["second", "minute", "hour", "day", "month", "year"]
Failure = Literal["allow", "deny"]
SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
Conditions: TypeAlias = tuple[HeaderMatcher, ...]
"""Headers, `:path` and `:method` among them, that a request must all have."""


@dataclass(frozen=True, slots=True)
class Told:
    """What tells the requests of one counter from those of another."""

    policy: str
    by_caller: bool
    by_header: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """`refill` tokens come in `seconds`, up to `size`."""

    size: int
    refill: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Shared:
    requests: int
    unit: Unit
    failure: Failure
    timeout: str
    domain: str


def standing() -> Iterator[HttpFilter]:
    """The filters as they stand in every connection manager, disabled: routes say their own limits. Those that ask the control plane wait for
    it as long as they do by default, so that only limits with a time-out of their own change a connection manager.
    """
    local = LocalRateLimit(stat_prefix="rate_limit")
    yield HttpFilter(
        FilterOrder.RATE_LIMIT, LOCAL, type_url(LocalRateLimit), serialised(local), disabled=True
    )
    yield _asking("allow", DEFAULT_TIMEOUT)
    yield _asking("deny", DEFAULT_TIMEOUT)


def identities(callers: Iterable[str]) -> Iterator[HeaderMatcher]:
    """One for each of `callers` (SPIFFE ids; prefixes of them end in a slash); a request meets one of them at most."""
    wanted = set(callers)
    prefixes = {each for each in wanted if each.endswith("/")}
    for each in sorted(wanted):
        if each in prefixes:
            made = HeaderMatcher(name=CALLERS_HEADER)
            made.string_match.contains = f"URI={each}"
            yield made
        elif not any(each.startswith(prefix) for prefix in prefixes):
            made = HeaderMatcher(name=CALLERS_HEADER)
            made.string_match.suffix = f"URI={each}"
            yield made


def local(told: Told, alternatives: Sequence[Conditions], bucket: Bucket) -> Parts:
    made = LocalRateLimit(stat_prefix="rate_limit", enable_x_ratelimit_headers=DRAFT_VERSION_03)
    # Both are 0 % unless said.
    _always(made.filter_enabled)
    _always(made.filter_enforced)
    made.rate_limited_as_resource_exhausted = True
    made.max_dynamic_descriptors.value = MOST_BUCKETS
    # A route must name a bucket for what no descriptor matches. One with an interval of less than a millisecond is no bucket:
    # such requests pass, and have no headers of a limit that nobody set.
    made.token_bucket.max_tokens = 1
    made.token_bucket.fill_interval.nanos = 1000
    made.always_consume_default_token_bucket.value = False
    made.rate_limits.extend(_rate_limits(told, alternatives))
    for header in (True, False) if told.by_header else (False,):
        _bucket(made.descriptors.add(), told, bucket, conditional=any(alternatives), header=header)
    return _on_route(LOCAL, made)


def shared(told: Told, alternatives: Sequence[Conditions], limit: Shared) -> Parts:
    """The filter is the standing one, to the byte, unless it is to wait otherwise."""
    made = RateLimitPerRoute(domain=limit.domain)
    made.rate_limits.extend(_rate_limits(told, alternatives, carried=f"{limit.requests}/{limit.unit}"))
    asks = _asking(limit.failure, limit.timeout)
    return _on_route(asks.name, made) + Parts(http_filters=(asks,))


def _asking(failure: Failure, timeout: str) -> HttpFilter:
    """The filter by which the control plane counts. Where a bootstrap that is not ours has no cluster of that name, Envoy takes it all the
    same, and nobody counts: what `failure` says holds.
    """
    asks = SharedRateLimit(domain=DOMAIN, failure_mode_deny=failure == "deny")
    set_duration(asks.timeout, timeout)
    asks.status_on_error.code = StatusCode.TooManyRequests
    asks.rate_limited_as_resource_exhausted = True
    asks.enable_x_ratelimit_headers = SharedRateLimit.DRAFT_VERSION_03
    asks.rate_limit_service.transport_api_version = ApiVersion.V3
    asks.rate_limit_service.grpc_service.envoy_grpc.cluster_name = names.CONTROL_PLANE
    name = f"{SHARED}.{failure}"
    return HttpFilter(
        FilterOrder.RATE_LIMIT, name, type_url(SharedRateLimit), serialised(asks), disabled=True
    )


def join(several: Sequence[Parts]) -> Parts:
    """All limits of all policies on one route, and each filter once, with the shortest of the time-outs."""
    limits: dict[str, LocalRateLimit | RateLimitPerRoute] = {}
    filters: dict[str, HttpFilter] = {}
    for parts in several:
        for name, config in Route.FromString(parts.route).typed_per_filter_config.items():
            kind = LocalRateLimit if name == LOCAL else RateLimitPerRoute
            _merge(limits.setdefault(name, kind()), kind.FromString(config.value))
        for each in parts.http_filters:
            known = filters.setdefault(each.name, each)
            if _timeout(each) < _timeout(known):
                filters[each.name] = each
    route = Route()
    for name, whole in limits.items():
        pack(route.typed_per_filter_config[name], whole)
    return Parts(route=serialised(route), http_filters=tuple(filters.values()))


def _merge(into: Message, other: Message) -> None:
    """Lists one after another; the rest is the same in all."""
    into.MergeFrom(other)


def _timeout(each: HttpFilter) -> int:
    return SharedRateLimit.FromString(each.config).timeout.ToNanoseconds()


def _rate_limits(told: Told, alternatives: Iterable[Conditions], carried: str = "") -> Iterator[RateLimit]:
    for conditions in alternatives:
        made = RateLimit()
        made.actions.add().generic_key.MergeFrom(
            RateLimit.Action.GenericKey(descriptor_key=POLICY_KEY, descriptor_value=told.policy)
        )
        if carried:
            made.actions.add().generic_key.MergeFrom(
                RateLimit.Action.GenericKey(descriptor_key=LIMIT_KEY, descriptor_value=carried)
            )
        if conditions:
            matches = made.actions.add().header_value_match
            matches.descriptor_key, matches.descriptor_value = MATCH_KEY, "yes"
            matches.headers.extend(conditions)
        if told.by_caller:
            extension = made.actions.add().extension
            extension.name = EXPRESSION
            identity = Descriptor(descriptor_key=CALLER_KEY, text="connection.uri_san_peer_certificate")
            pack(extension.typed_config, identity)
        if told.by_header:
            header = made.actions.add().request_headers
            header.header_name, header.descriptor_key = told.by_header, HEADER_KEY
            # Else a request without the header would have no descriptor, and no limit.
            header.skip_if_absent = True
        yield made


def _bucket(
    made: LocalRateLimitDescriptor, told: Told, bucket: Bucket, *, conditional: bool, header: bool
) -> None:
    """Its entries are those of the requests it is for, in their order; an empty value is any, each with a bucket of its own."""
    made.entries.add(key=POLICY_KEY, value=told.policy)
    if conditional:
        made.entries.add(key=MATCH_KEY, value="yes")
    if told.by_caller:
        made.entries.add(key=CALLER_KEY)
    if header:
        made.entries.add(key=HEADER_KEY)
    made.token_bucket.max_tokens = bucket.size
    made.token_bucket.tokens_per_fill.value = bucket.refill
    made.token_bucket.fill_interval.seconds = bucket.seconds


def _always(share: RuntimeFractionalPercent) -> None:
    share.default_value.numerator = 100
    share.default_value.denominator = FractionalPercent.HUNDRED


def _on_route(name: str, config: Message) -> Parts:
    route = Route()
    pack(route.typed_per_filter_config[name], config)
    return Parts(route=serialised(route))
