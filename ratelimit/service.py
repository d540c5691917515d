"""The gRPC service that Envoy's rate limit filters ask.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol, TypeAlias

import grpc
import grpc.aio

from pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from pb.envoy.service.ratelimit.v3.rls_pb2_grpc import (
    RateLimitServiceServicer,
    add_RateLimitServiceServicer_to_server,
)
from ratelimit import wire
from ratelimit.counters import Counters
from ratelimit.errors import CountersAway, InvalidRequest
from ratelimit.limits import Descriptor, Rules, ask, decide

Context: TypeAlias = "grpc.aio.ServicerContext[RateLimitRequest, Awaitable[RateLimitResponse]]"


Gate: TypeAlias = Callable[
    [Mapping[str, Iterable[bytes]], str, Sequence[Descriptor]], tuple[str, tuple[Descriptor, ...]]
]
"""Of what a peer asks (gRPC's auth context, the domain, the descriptors), what is held against limits: a domain and as many descriptors. One
without entries has no limit.
"""


def _anybody(
    _: Mapping[str, Iterable[bytes]], domain: str, descriptors: Sequence[Descriptor]
) -> tuple[str, tuple[Descriptor, ...]]:
    return domain, tuple(descriptors)


class Failure(Enum):
    """What requests get while nothing can be counted."""

    ALLOW = "allow"
    """They pass, unlimited: the service stays up, and must stand the load."""
    DENY = "deny"
    """They are refused as if over the limit (429 with HTTP)."""
    PROXY = "proxy"
    """What the filter of their own proxy says (`failure_mode_deny`), as when this service itself is away: UNAVAILABLE."""


class Observer(Protocol):
    """Is told of each answer, for metrics and logs; must not block nor raise. `domain` is as the proxy gave it."""

    def answered(self, domain: str, *, over: bool) -> None: ...

    def blind(self, domain: str, failure: Failure, reason: str) -> None:
        """Nothing could be counted, so the answer was as `failure` says. `reason` is safe to log."""
        ...

    def invalid(self, domain: str, reason: str) -> None:
        """A request without meaning, refused with INVALID_ARGUMENT. `reason` is safe to log."""
        ...


class RateLimits(RateLimitServiceServicer):
    """Answers `ShouldRateLimit`. How long that takes at most is up to `counters`.

    With `rules` the limits are here; with the limits that proxies send along (`override` of an action, RateLimitOverride) they
    are in Envoy's configuration, and this service has no state but its counters. Both may be used at once.
    """

    def __init__(
        self,
        counters: Counters,
        observer: Observer,
        *,
        rules: Rules | None = None,
        failure: Failure = Failure.ALLOW,
        gate: Gate = _anybody,
    ) -> None:
        """`gate` says what each peer may have counted: by default all that it asks."""
        self._counters = counters
        self._observer = observer
        self._failure = failure
        self._gate = gate
        self.rules = rules or Rules()
        """May be replaced at any time; each request is held against one set of rules as a whole."""

    def add_to(self, server: grpc.aio.Server) -> None:
        add_RateLimitServiceServicer_to_server(self, server)

    async def ShouldRateLimit(self, request: RateLimitRequest, context: Context) -> RateLimitResponse:  # noqa: N802
        try:
            asked = wire.descriptors(request)
            domain, descriptors = self._gate(context.auth_context() or {}, request.domain, asked)
            question = ask(self.rules, domain, descriptors)
        except InvalidRequest as invalid:
            self._observer.invalid(request.domain, str(invalid))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(invalid))
        try:
            tallies = await self._counters.add(question.draws())
        except CountersAway as away:
            self._observer.blind(request.domain, self._failure, str(away))
            if self._failure is Failure.PROXY:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(away))
            return wire.blind(len(request.descriptors), allow=self._failure is Failure.ALLOW)
        statuses = decide(question, tallies)
        self._observer.answered(request.domain, over=any(each.over for each in statuses))
        return wire.response(statuses)
