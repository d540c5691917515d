"""RateLimit: how many requests a workload takes in some time, each sidecar by itself or all of them together. Enforced by the callee.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/local_rate_limit_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/rate_limit_filter

All RateLimit policies that target a workload hold, each by itself. A request is told by the entries of a *descriptor*, which are made
of it by the route: the policy, whatever tells callers apart, and, where the mesh counts, the limit itself. So the limits of the whole mesh ride in the
configuration of its proxies, and who counts needs to know nothing but numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from documents.envelope import Part, Problem
from envoy.seams import NOTHING, Parts
from mesh.targeting import Level
from policies import rate_limit_messages as messages
from policies.document import PolicyDocument, Targeting
from policies.fields import Positive, PositiveDuration
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.matching import HeaderMatchFields, HeaderName, Method, PathMatchFields, methods
from policies.rate_limit_messages import SECONDS, Failure, Unit

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: RateLimit
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  match: {path: {prefix: /search}, methods: [GET]}
  by: caller
  local: {requests: 20, unit: second, burst: 40}
  global: {requests: 1000, unit: minute, failure: allow}
"""

FILTERS: Final = tuple(messages.standing())


class MatchFields(Part):
    """Requests that meet all conditions given."""

    path: PathMatchFields | None = Field(None, description="By path. By default all.")
    methods: list[Method] | None = Field(
        None, min_length=1, description="By method: one of these. By default all."
    )
    headers: list[HeaderMatchFields] | None = Field(
        None, description="By headers: all of these. By default all requests."
    )


class LocalFields(Part):
    """A bucket of tokens in each sidecar, which is filled steadily. It is full again when policies of the same workload change."""

    requests: Positive = Field(description="How many requests each sidecar lets through in one unit.")
    unit: Literal["second", "minute", "hour", "day"] = Field("second", description="By default second.")
    burst: Positive | None = Field(
        None,
        description="How many may come at once after a quiet time: the size of the bucket. By default as many as `requests`.",
    )


class GlobalFields(Part):
    """A window of time whose requests are counted over all sidecars by the control plane."""

    requests: int = Field(
        ge=0, le=2**32 - 1, description="How many requests all sidecars together let through in one unit."
    )
    unit: Unit = Field(
        "second",
        description="The length of a window, which begins with its first request. By default second.",
    )
    failure: Failure = Field(
        "allow",
        description="What happens while nobody can count, or not in time: `allow` lets requests pass unlimited, `deny` answers them with 429. By default allow.",
    )
    timeout: PositiveDuration = Field(
        messages.DEFAULT_TIMEOUT,
        description="How long a request waits at most to be counted. Where several policies of one workload have the same `failure`, the "
        "shortest holds for them all. By default 50ms.",
    )


class RateLimitFields(Part):
    match: MatchFields | None = Field(
        None, description="Which requests are limited. By default all; others pass and are not counted."
    )
    by: Literal["caller"] | None = Field(
        None,
        description="`caller`: each identity that calls has a limit of its own. By default all callers share one.",
    )
    by_header: HeaderName | None = Field(
        None,
        description="Each value of this header has a limit of its own; requests without it share one. By default none.",
    )
    local: LocalFields | None = Field(None, description="A limit of each sidecar by itself.")
    global_: GlobalFields | None = Field(
        None, alias="global", description="A limit that the whole mesh shares."
    )


class RateLimitSpec(Targeting, RateLimitFields):
    pass


class RateLimit(PolicyDocument):
    """How many requests a workload takes in some time. Those beyond are answered with 429 and headers that tell when to come again.

    All policies that concern a request hold, each by itself. A change is in force at once; only one by which requests wait for the count another
    time than the default (`global.timeout`) reaches open connections when they are drained, within 45 seconds.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["RateLimit"]
    spec: RateLimitSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        if spec.local is None and spec.global_ is None:
            yield Problem(
                ("spec",), "nothing is limited", "Add local: {requests: 100}, or global: {requests: 100}"
            )


def effect(fields: RateLimitFields, where: Where) -> Parts:
    if not where.protocol.is_http:
        return NOTHING
    told = messages.Told(where.policy, by_caller=fields.by == "caller", by_header=fields.by_header or "")
    alternatives = tuple(_alternatives(fields.match, where.callers))
    found = NOTHING
    if fields.local is not None:
        local = fields.local
        bucket = messages.Bucket(local.burst or local.requests, local.requests, SECONDS[local.unit])
        found += messages.local(told, alternatives, bucket)
    if fields.global_ is not None:
        whole = fields.global_
        limit = messages.Shared(whole.requests, whole.unit, whole.failure, whole.timeout, where.trust_domain)
        found += messages.shared(told, alternatives, limit)
    return found


def _alternatives(match: MatchFields | None, callers: tuple[str, ...]) -> Iterator[messages.Conditions]:
    """A request that is limited meets the conditions of exactly one, so that it is counted once."""
    always: messages.Conditions = ()
    if match is not None and match.methods:
        always += (methods(match.methods),)
    if match is not None:
        always += tuple(each.matcher() for each in match.headers or ())
    paths = tuple(match.path.matchers()) if match is not None and match.path is not None else ()
    for path, identity in itertools.product(paths or (None,), tuple(messages.identities(callers)) or (None,)):
        yield (*always, *(each for each in (path, identity) if each is not None))


KIND: Final = PolicyKind(
    RateLimit,
    RateLimitFields,
    Side.CALLEE,
    effect,
    filters=FILTERS,
    levels=ANYWHERE - {Level.ROUTE},
    union=True,
    join=messages.join,
)
