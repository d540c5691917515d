"""Checks of policies: whether they have an effect, and whether what they say together makes sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from pydantic import BaseModel

from documents.durations import parse
from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.targeting import Level, TargetRef
from meshwright.analysis.finding import Check, Example, Found, Severity
from meshwright.analysis.sight import Sight
from policies.circuit_breaker import CircuitBreakerFields
from policies.effects import Why
from policies.fault_injection import FaultFields
from policies.notes import missing_caller
from policies.retry import RetryFields
from policies.timeout import TimeoutFields

F = TypeVar("F", bound=BaseModel)
MANY_RETRIES: Final = 5
HALF: Final = 50


def _said(policy: Policy, kind: type[F]) -> F:
    """What it says, as its schema reads it."""
    return kind.model_validate(thawed(policy.fields))


def _seconds(duration: str | None) -> float:
    return parse(duration).total_seconds() if duration else 0.0


def _name(policy: Policy) -> str:
    return f"{policy.kind} {policy.key}"


def _in_vain(why: Why) -> Callable[[Sight], Iterator[Found]]:
    def found(sight: Sight) -> Iterator[Found]:
        for policy, vain in sight.in_vain:
            if vain.why is why:
                yield Found(_name(policy), vain.text, policy.origin)

    return found


def from_nobody(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies():
        for caller in (*policy.callers, *policy.mentions):
            if missing := missing_caller(sight.state, caller):
                yield Found(_name(policy), f"of those whom it names, {missing}", policy.origin)


def tries_longer_than_request(sight: Sight) -> Iterator[Found]:
    requests = {
        (target, policy.callers): (policy, limit)
        for policy in sight.policies("TimeoutPolicy")
        if (limit := _seconds(_said(policy, TimeoutFields).request))
        for target in policy.targets
    }
    for policy in sight.policies("RetryPolicy"):
        said = _said(policy, RetryFields)
        attempts = 2 if said.attempts is None else said.attempts
        for target in policy.targets:
            other, limit = requests.get((target, policy.callers), (None, 0.0))
            one = _seconds(said.per_try_timeout)
            if other is not None and one and attempts and one >= limit:
                yield Found(
                    _name(policy),
                    f"at {target} a try may take {one:g} s, and by {_name(other)} the whole request {limit:g} s: "
                    "it is never tried again after one that hangs",
                    policy.origin,
                )


def storm(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("RetryPolicy"):
        said = _said(policy, RetryFields)
        if (said.attempts or 0) > MANY_RETRIES and said.budget is None:
            yield Found(
                _name(policy),
                f"{said.attempts} retries without a budget: a service that is down gets {1 + (said.attempts or 0)} times its load",
                policy.origin,
            )


def retries_off_and_conditions(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("RetryPolicy"):
        said = _said(policy, RetryFields)
        if said.attempts == 0 and (said.on or said.codes or said.per_try_timeout):
            yield Found(_name(policy), "it says when to try again, and attempts: 0", policy.origin)


def faults(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("FaultInjection"):
        said = _said(policy, FaultFields)
        shares = [
            each.percent if each.percent is not None else 100
            for each in (said.delay, said.abort)
            if each is not None
        ]
        wide = any(target.level in {Level.MESH, Level.NAMESPACE} for target in policy.targets)
        if shares and (wide or max(shares) >= HALF) and not said.headers and not policy.callers:
            targets = ", ".join(map(str, policy.targets))
            yield Found(
                _name(policy),
                f"{max(shares):g} % of all requests to {targets} are made to fail or wait",
                policy.origin,
            )


def ejects_the_only_one(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("OutlierDetection"):
        for target in policy.targets:
            if target.level is not Level.SERVICE:
                continue
            members = sight.members(Key(target.namespace, target.name))
            if len(members) == 1:
                yield Found(
                    _name(policy),
                    f"{target} has one workload: there is no other to send requests to when it is ejected",
                    policy.origin,
                )


def narrow_breaker(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("CircuitBreaker"):
        said = _said(policy, CircuitBreakerFields)
        for name, each in (("requests", said.requests), ("connections", said.connections)):
            if each == 0:
                yield Found(_name(policy), f"{name}: 0 refuses everything", policy.origin)


def patches(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("EnvoyPatch"):
        yield Found(
            _name(policy),
            "it changes Envoy's configuration by hand, past what the mesh knows of it",
            policy.origin,
        )


def many_at_one_place(sight: Sight) -> Iterator[Found]:
    at: Counter[tuple[str, TargetRef]] = Counter()
    last: dict[tuple[str, TargetRef], Policy] = {}
    for policy in sight.policies():
        if policy.kind in {"AccessPolicy", "EnvoyPatch", "RateLimit"} or policy.callers:
            continue
        for target in policy.targets:
            at[policy.kind, target] += 1
            last[policy.kind, target] = policy
    for (kind, target), count in sorted(at.items()):
        if count > 2:
            yield Found(
                _name(last[kind, target]),
                f"{count} policies of kind {kind} target {target}: which field comes from which is hard to tell",
                last[kind, target].origin,
            )


def enforced_twice(sight: Sight) -> Iterator[Found]:
    first: dict[tuple[str, TargetRef], Policy] = {}
    for policy in sight.policies():
        if not policy.enforced or policy.callers or policy.kind == "AccessPolicy":
            continue
        for target in policy.targets:
            other = first.setdefault((policy.kind, target), policy)
            if other is not policy:
                yield Found(
                    _name(policy),
                    f"{_name(other)} is enforced at {target} as well: where both say a field, the older has it",
                    policy.origin,
                )


def policy(kind: str, name: str, spec: str, target: str = "{kind: Service, name: api}") -> str:
    return f"kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{target}], {spec}}}\n"


def several(*documents: str) -> str:
    return "---\n".join(documents)


SLOW: Final = policy("TimeoutPolicy", "slow", "request: 1s")

CHECKS: Final = (
    Check(
        "MW0301",
        "A policy for a target that is not there",
        Severity.WARNING,
        "It has no effect.",
        "Correct the name or namespace of the target, or declare it.",
        _in_vain(Why.NO_TARGET),
        Example(policy("TimeoutPolicy", "slow", "request: 1s", "{kind: Service, name: apo}")),
        Example(SLOW),
    ),
    Check(
        "MW0302",
        "A policy that another prevails over",
        Severity.WARNING,
        "The nearest has each field, then what is enforced, then the older: what this one says has no effect there.",
        "Take the fields out of one of them.",
        _in_vain(Why.OVERRIDDEN),
        Example(several(SLOW, policy("TimeoutPolicy", "again", "request: 2s"))),
        Example(SLOW),
    ),
    Check(
        "MW0303",
        "A policy that does nothing where it is",
        Severity.WARNING,
        "What it needs is not there: a sidecar, a port of that protocol, another policy.",
        "Follow what the message says.",
        _in_vain(Why.OTHERWISE),
        Example(policy("AccessPolicy", "watch", "action: audit, rules: [{from: [{service: web}]}]")),
        Example(
            several(
                policy("AccessPolicy", "watch", "action: audit, rules: [{from: [{service: web}]}]"),
                policy("AccessLog", "all", "format: json"),
            )
        ),
    ),
    Check(
        "MW0304",
        "A policy names callers that are not there",
        Severity.WARNING,
        "It holds for nobody, or lets in nobody, until they come; a name that is misspelt stays so for ever.",
        "Correct the name or the namespace.",
        from_nobody,
        Example(policy("AccessPolicy", "api", "action: allow, rules: [{from: [{service: wep}]}]")),
        Example(policy("AccessPolicy", "api", "action: allow, rules: [{from: [{service: web}]}]")),
    ),
    Check(
        "MW0305",
        "A try may take as long as the whole request",
        Severity.WARNING,
        "When a try hangs, no time is left for another.",
        "Make `perTryTimeout` a fraction of the request's time limit.",
        tries_longer_than_request,
        Example(several(SLOW, policy("RetryPolicy", "again", "attempts: 3, perTryTimeout: 2s"))),
        Example(several(SLOW, policy("RetryPolicy", "again", "attempts: 3, perTryTimeout: 300ms"))),
    ),
    Check(
        "MW0306",
        "Many retries without a budget",
        Severity.WARNING,
        "When a service is down, its callers multiply its load, and it stays down.",
        "Say `budget`, or fewer `attempts`.",
        storm,
        Example(policy("RetryPolicy", "again", "attempts: 10")),
        Example(policy("RetryPolicy", "again", "attempts: 10, budget: {percent: 20}")),
    ),
    Check(
        "MW0307",
        "Conditions for retries that are switched off",
        Severity.WARNING,
        "With `attempts: 0` nothing is tried again, whatever the conditions.",
        "Say how many attempts, or leave the conditions out.",
        retries_off_and_conditions,
        Example(policy("RetryPolicy", "again", "attempts: 0, on: [5xx]")),
        Example(policy("RetryPolicy", "again", "attempts: 2, on: [5xx]")),
    ),
    Check(
        "MW0308",
        "Faults for most of the traffic",
        Severity.WARNING,
        "An experiment that was left behind looks like an outage.",
        "Delete it, or narrow it by `headers`, `from` or `percent`.",
        faults,
        Example(policy("FaultInjection", "chaos", "abort: {httpStatus: 503, percent: 100}")),
        Example(
            policy(
                "FaultInjection",
                "chaos",
                "abort: {httpStatus: 503, percent: 100}, headers: [{name: x-chaos, value: 'yes'}]",
            )
        ),
    ),
    Check(
        "MW0309",
        "Outlier detection for one workload alone",
        Severity.INFO,
        "There is no other workload to send requests to.",
        "Run a second workload.",
        ejects_the_only_one,
        Example(
            "kind: Service\nmetadata: {name: solo}\nspec: {ports: [{name: http, port: 80, protocol: http}]}\n---\nkind: Workload\nmetadata: {name: solo-1}\n"
            "spec: {services: [solo], address: 10.0.6.1, ports: [{name: http, app: 8080, sidecar: 15101}], meshed: true, uses: []}\n---\n"
            + policy("OutlierDetection", "eject", "consecutive5xx: 5", "{kind: Service, name: solo}")
        ),
        Example(policy("OutlierDetection", "eject", "consecutive5xx: 5")),
    ),
    Check(
        "MW0310",
        "A circuit breaker that refuses everything",
        Severity.ERROR,
        "A limit of 0 leaves room for nobody.",
        "Say how many there may be, or leave the limit out.",
        narrow_breaker,
        Example(policy("CircuitBreaker", "narrow", "requests: 0")),
        Example(policy("CircuitBreaker", "narrow", "requests: 100")),
    ),
    Check(
        "MW0311",
        "Envoy's configuration is patched by hand",
        Severity.INFO,
        "A patch depends on how we render, which another version may change (`meshwright upgrade-check` shows it).",
        "Use a policy where there is one for it.",
        patches,
        Example(
            policy(
                "EnvoyPatch",
                "by-hand",
                "resource: Cluster, name: 'default/api:80', merge: {connectTimeout: 3s}",
                "{kind: Service, name: api}",
            )
        ),
        Example(SLOW),
    ),
    Check(
        "MW0312",
        "Many policies of one kind for one target",
        Severity.INFO,
        "They are merged field by field; which of them a field comes from is hard to tell.",
        "Make one of them.",
        many_at_one_place,
        Example(
            several(
                SLOW, policy("TimeoutPolicy", "b", "idle: 1m"), policy("TimeoutPolicy", "c", "connect: 1s")
            )
        ),
        Example(several(SLOW, policy("TimeoutPolicy", "b", "idle: 1m"))),
    ),
    Check(
        "MW0313",
        "Two policies are enforced at one place",
        Severity.WARNING,
        "Of what both say, the older has it, and nobody below can say otherwise.",
        "Keep one of them.",
        enforced_twice,
        Example(
            several(
                policy("TimeoutPolicy", "a", "request: 1s, enforced: true", "{kind: Mesh}"),
                policy("TimeoutPolicy", "b", "request: 2s, enforced: true", "{kind: Mesh}"),
            )
        ),
        Example(policy("TimeoutPolicy", "a", "request: 1s, enforced: true", "{kind: Mesh}")),
    ),
)
