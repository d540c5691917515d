"""RetryPolicy: when a request is sent again, how often, and how much of the load that may add. Enforced by the caller.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/router_filter#x-envoy-retry-on
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Part, Problem, wrong
from envoy.packing import pack
from envoy.route_actions import SAFE_ATTEMPTS, SAFE_RETRIES, elsewhere, of_application
from envoy.seams import Parts, serialised
from mesh.rules import RuleView
from mesh.targeting import Level
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.route.v3.route_components_pb2 import RetryPolicy as RetryMessage
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from pb.envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)
from policies.document import PolicyDocument, Targeting
from policies.fields import Count, Percent, PositiveDuration, seconds, set_duration, text
from policies.kind import ANYWHERE, PolicyKind, Side, Where

Condition = Literal[
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
    "unavailable",
]  # fmt: skip
SHORTEST = timedelta(milliseconds=1)
"""The shortest pause that Envoy makes, for a route that asks for none."""

ASKING_TO_WAIT = (429, 503)
"""The statuses that Retry-After goes with and that are no success (RFC 9110, section 10.2.3; RFC 6585, section 4)."""


def _status(code: int) -> int:
    if not 100 <= code <= 599:
        raise wrong(f"{code} is not an HTTP status", "Use numbers from 100 to 599")
    return code


class BackoffFields(Part):
    base: PositiveDuration = Field(
        "25ms", description="The first pause, about: each is drawn at random, and they double."
    )
    max: PositiveDuration | None = Field(
        None, description="The longest pause; by default ten times the base."
    )


class RetryAfterFields(Part):
    headers: list[str] = Field(
        ["retry-after"],
        min_length=1,
        description="Headers of an answer that say how many seconds to wait, as Retry-After does.",
    )
    max: PositiveDuration = Field(
        "300s", description="A longer wait than this is not honoured: the usual pause is made."
    )


class BudgetFields(Part):
    percent: Percent = Field(20.0, description="Retries at once, in percent of the requests at once.")
    min_per_second: Count = Field(3, description="Retries at once that are always allowed.")


class RetryFields(Part):
    attempts: Count | None = Field(
        None, description="Retries after the first try. By default 2. 0: none at all."
    )
    on: list[Condition] | None = Field(
        None,
        description="What makes a try a failed one. By default connect-failure, refused-stream and reset-before-request: whatever cannot "
        "have reached the application. The same holds, with 2 retries, where no policy says anything. A status such as 503 is not among "
        "them: say 5xx, gateway-error or codes.",
    )
    codes: list[Annotated[int, AfterValidator(_status)]] | None = Field(
        None, description="Statuses that make a try a failed one. Beside retryAfter, by default 429 and 503."
    )
    per_try_timeout: PositiveDuration | None = Field(
        None, description="For each try; then it counts as failed."
    )
    backoff: BackoffFields | None = Field(None, description="The pauses between tries.")
    retry_after: RetryAfterFields | None = Field(None, description="Pauses that the callee asks for.")
    budget: BudgetFields | None = Field(
        None, description="A limit on retries over all requests to a service."
    )
    other_host: bool | None = Field(
        None, description="Prefer endpoints that this request has not tried. By default yes."
    )
    other_priority: bool | None = Field(
        None, description="Prefer localities that this request has not tried."
    )


class RetrySpec(Targeting, RetryFields):
    pass


class RetryPolicy(PolicyDocument):
    """When a request is sent again."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["RetryPolicy"]
    spec: RetrySpec

    def own_problems(self) -> Iterator[Problem]:
        backoff = self.spec.backoff
        if backoff is not None and backoff.max and seconds(backoff.max) < seconds(backoff.base):
            yield Problem(
                ("spec", "backoff", "max"),
                f"{backoff.max} is less than the base, {backoff.base}",
                "Make it longer",
            )


def effect(fields: RetryFields, where: Where) -> Parts:
    del where
    action, cluster = RouteAction(), Cluster()
    policy = action.retry_policy
    conditions: list[str] = list(fields.on if fields.on is not None else SAFE_RETRIES)
    codes = fields.codes
    if codes is None and fields.retry_after is not None:
        codes = list(ASKING_TO_WAIT)
    if codes:
        conditions.append("retriable-status-codes")
        policy.retriable_status_codes.extend(sorted(set(codes)))
    policy.retry_on = ",".join(conditions)
    of_application(policy, conditions)
    policy.num_retries.value = SAFE_ATTEMPTS if fields.attempts is None else fields.attempts
    if fields.attempts == 0:
        policy.retry_on = ""
    if fields.per_try_timeout is not None:
        set_duration(policy.per_try_timeout, fields.per_try_timeout)
    if fields.backoff is not None:
        set_duration(policy.retry_back_off.base_interval, fields.backoff.base)
        if fields.backoff.max is not None:
            if seconds(fields.backoff.max) < seconds(fields.backoff.base):  # Envoy would refuse the routes
                raise ValueError(
                    f"several policies together say backoff.base {fields.backoff.base} and backoff.max "
                    f"{fields.backoff.max}, which is less: change one"
                )
            set_duration(policy.retry_back_off.max_interval, fields.backoff.max)
    if fields.retry_after is not None:
        _retry_after(policy, fields.retry_after)
    if fields.other_host is not False:
        elsewhere(policy)
    if fields.other_priority:
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        pack(policy.retry_priority.typed_config, PreviousPrioritiesConfig(update_frequency=1))
    if fields.budget is not None:
        budget = cluster.circuit_breakers.thresholds.add().retry_budget
        budget.budget_percent.value = fields.budget.percent
        budget.min_retry_concurrency.value = fields.budget.min_per_second
    return Parts(cluster=serialised(cluster), action=serialised(action))


def _retry_after(policy: RetryMessage, fields: RetryAfterFields) -> None:
    back_off = policy.rate_limited_retry_back_off
    for header in fields.headers:
        back_off.reset_headers.add(name=header)
    set_duration(back_off.max_interval, fields.max)


def inline(rule: RuleView) -> dict[str, object]:
    """`retry` of a rule: besides its codes, whatever did not reach the backend is tried again (https://gateway-api.sigs.k8s.io/geps/gep-1731/)."""
    retry = rule.retry
    if retry is None:
        return {}
    found: dict[str, object] = {"on": ["connect-failure", "refused-stream", "reset"]}
    if retry.codes:
        found["codes"] = list(retry.codes)
    if retry.attempts is not None:
        found["attempts"] = retry.attempts
    if retry.backoff is not None:
        found["backoff"] = {"base": text(retry.backoff or SHORTEST)}
    return found


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  attempts: 2
  "on": [connect-failure, refused-stream, reset-before-request]
  codes: [503]
  perTryTimeout: 500ms
  backoff: {base: 25ms, max: 250ms}
  budget: {percent: 20, minPerSecond: 3}
"""

KIND = PolicyKind(
    RetryPolicy, RetryFields, Side.CALLER, effect, levels=ANYWHERE - {Level.WORKLOAD}, inline=inline
)
