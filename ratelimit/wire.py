"""Envoy's rate limit messages, read and written.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto
"""

from __future__ import annotations

from collections.abc import Sequence

from pb.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from pb.envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from ratelimit.errors import InvalidRequest
from ratelimit.limits import MOST_REQUESTS, Descriptor, Limit, Status, Unit

MOST_DESCRIPTORS = 64
"""Of one request. Envoy sends one for each rate limit of a route: who sends many more wants to keep the counters busy."""

_UNITS = {RateLimitUnit.Value(unit.name): unit for unit in Unit}
_WIRE_UNITS = {unit: RateLimitResponse.RateLimit.Unit.Value(unit.name) for unit in Unit}
_OVER = RateLimitResponse.OVER_LIMIT
_OK = RateLimitResponse.OK


def descriptors(request: RateLimitRequest) -> tuple[Descriptor, ...]:
    """Raises InvalidRequest where Envoy's configuration makes no sense; the message says what to mend there."""
    if not request.domain:
        raise InvalidRequest("the request names no domain: set `domain` of the rate limit filter")
    if len(request.descriptors) > MOST_DESCRIPTORS:
        raise InvalidRequest(
            f"the request has {len(request.descriptors)} descriptors: {MOST_DESCRIPTORS} are the most, "
            "so give the route fewer rate limits"
        )
    # "If the value is not set in the message, a request increases the matched limit by 1."
    hits = request.hits_addend or 1
    return tuple(_descriptor(each, hits) for each in request.descriptors)


def _descriptor(message: RateLimitDescriptor, hits: int) -> Descriptor:
    if message.HasField("hits_addend"):
        # A uint64, of which more than the largest limit says nothing more, and could overflow the counter.
        hits = min(message.hits_addend.value, MOST_REQUESTS)
    entries = tuple((entry.key, entry.value) for entry in message.entries)
    if not message.HasField("limit"):
        return Descriptor(entries, hits)
    unit = _UNITS.get(message.limit.unit)
    if unit is None:
        keys = ", ".join(key for key, _ in entries)
        raise InvalidRequest(
            f"the limit of descriptor ({keys}) has no known unit ({message.limit.unit}): "
            f"give one of {', '.join(each.name for each in Unit)}"
        )
    return Descriptor(entries, hits, Limit(message.limit.requests_per_unit, unit))


def response(statuses: Sequence[Status]) -> RateLimitResponse:
    """One status a descriptor, in their order. Envoy makes the x-ratelimit headers of them if it is told to
    (`enable_x_ratelimit_headers`), so none are added here.
    """
    answer = RateLimitResponse(overall_code=_OVER if any(each.over for each in statuses) else _OK)
    for each in statuses:
        status = answer.statuses.add(code=_OVER if each.over else _OK)
        if each.limit is not None:
            status.current_limit.requests_per_unit = each.limit.requests
            status.current_limit.unit = _WIRE_UNITS[each.limit.unit]
            status.limit_remaining = each.remaining
            status.duration_until_reset.seconds = each.reset
    return answer


def blind(descriptor_count: int, *, allow: bool) -> RateLimitResponse:
    """The answer when nothing could be counted: all allowed or all refused, and no limit named."""
    code = _OK if allow else _OVER
    answer = RateLimitResponse(overall_code=code)
    for _ in range(descriptor_count):
        answer.statuses.add(code=code)
    return answer
