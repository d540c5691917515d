"""Access: who may call, and what. From the RBAC filter as the proxy has it; the line is found in the policies that made it."""

from __future__ import annotations

from fractions import Fraction

from google.protobuf.any_pb2 import Any

from explain import rbac
from explain.answer import Source
from explain.local_replies import answered, closed
from explain.request import Request
from explain.sight import Passing, Sight, listed
from mesh.names import Key
from mesh.policy import Policy
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from pb.envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network
from policies import access_messages, access_verdict
from policies.access_rules import UNLESS

AUDIT = access_messages.AUDIT
KIND = "AccessPolicy"


def access(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    del route
    config = RBACPerRoute.FromString(own.value).rbac if own is not None else RBAC.FromString(standing.value)
    decision = rbac.enforced(config, sight.peer, request)
    trial = rbac.on_trial(config, sight.peer, request)
    details = () if trial.allowed else (f"policies on trial would refuse it: {_named(trial.by)}",)
    lines = () if trial.allowed else _policies(trial.by, sight)
    cautions = (
        (f"access at {sight.whose} depends on {decision.unread}, which cannot be told here",)
        if decision.unread
        else ()
    )
    if decision.unread:
        said = f"depends on {decision.unread}"
        return Passing(request, (sight.step("access", said, details, lines),), cautions=cautions)
    if decision.allowed:
        if not config.HasField("rules"):
            return Passing(
                request, (sight.step("access", "no policy refuses it", details, lines),) if details else ()
            )
        said, sources = _let_in(sight, request)
        return Passing(request, (sight.step("access", said, details, sources),), cautions=cautions)
    why, remedy, sources = _refused(decision.by, sight, request)
    step = sight.step("access", f"403: {why}", details, sources)
    return Passing(request, (step,), ((Fraction(1), answered(request, 403, why, remedy)),))


def connection(config: network.RBAC, sight: Sight) -> Passing:
    """For a connection that nobody looks into; the request of the `Passing` means nothing."""
    nothing = Request("", "", "")
    decision = rbac.enforced(config, sight.peer, None)
    cautions = (
        (f"access at {sight.whose} depends on {decision.unread}, which cannot be told here",)
        if decision.unread
        else ()
    )
    if decision.allowed:
        said, sources = _let_in(sight, None)
        steps = (sight.step("access", said, (), sources),) if config.HasField("rules") else ()
        return Passing(nothing, steps, cautions=cautions)
    why, remedy, sources = _refused(decision.by, sight, None)
    step = sight.step("access", f"the connection is closed: {why}", (), sources)
    return Passing(nothing, (step,), ((Fraction(1), closed(why, remedy)),))


def _let_in(sight: Sight, request: Request | None) -> tuple[str, tuple[Source, ...]]:
    """By which rule, where policies allow; else no policy that denies applies."""
    rules = [each for each in _rulings(sight, request) if each.action == "allow" and not each.dry_run]
    if not rules:
        return f"{_caller(sight)} is let in: no policy denies it", ()
    policies = tuple(dict.fromkeys(str(each.policy) for each in rules))
    sources = tuple(_line(sight, each) for each in rules)
    return f"{_caller(sight)} is let in by {KIND} {listed(policies)}", sources


def _refused(by: str, sight: Sight, request: Request | None) -> tuple[str, str, tuple[Source, ...]]:
    """Why, the way out, and where it says so."""
    who = _caller(sight)
    if not by.startswith(UNLESS):
        key = Key.parse(by)
        rules = [each for each in _rulings(sight, request) if each.policy == key and each.action == "deny"]
        lines = tuple(_line(sight, each) for each in rules) or (sight.blame.policy(KIND, key, "spec"),)
        return f"{KIND} {by} denies {who}", f"Narrow the rule of {KIND} {by} that denies it", lines
    names = _named(by)
    why = f"what no policy allows is refused here, and none allows {who}: {names}"
    return why, _way_in(by, sight), _policies(by, sight)


def _way_in(by: str, sight: Sight) -> str:
    """Rules stand in a policy that allows: `default: deny` has none."""
    allowing = next((each for each in _keys(by) if _allows(sight, each)), None)
    if allowing is not None:
        return f"Add a rule that allows it to {KIND} {allowing}"
    service = None if sight.takes is None else sight.takes.service
    whom = f"workload {sight.proxy}" if service is None else f"service {service}"
    return f"Write an {KIND} with action: allow for {whom}"


def _allows(sight: Sight, key: Key) -> bool:
    policy = sight.blame.state.declared.get((KIND, key))
    return isinstance(policy, Policy) and policy.fields.get("action") == "allow"


def _policies(by: str, sight: Sight) -> tuple[Source, ...]:
    return tuple(sight.blame.policy(KIND, each, "spec") for each in _keys(by))


def _keys(by: str) -> list[Key]:
    """The policies that are named; where there are many, how many more there are is no name."""
    return [Key.parse(each) for each in by.removeprefix(UNLESS).split(",") if "/" in each]


def _rulings(sight: Sight, request: Request | None) -> list[access_verdict.Ruling]:
    """None where what policies say is not known, or does not fit together."""
    caller = access_verdict.Caller(sight.peer.identity, sight.peer.address)
    asked = None
    if request is not None:
        headers = tuple((name, value) for name, value in request.headers)
        asked = access_verdict.Request(
            request.method, request.path, request.authority, headers, request.claims
        )
    state = sight.blame.state
    if sight.gateway is not None:
        return list(access_verdict.rulings_at_gateway(state, sight.proxy, sight.gateway, caller, asked))
    if sight.takes is None or sight.takes.service is None or sight.port is None:
        return []
    service, workload = sight.takes.service, sight.takes.workload
    return list(access_verdict.rulings(state, service, sight.port, caller, asked, workload))


def _line(sight: Sight, ruling: access_verdict.Ruling) -> Source:
    return sight.blame.policy(KIND, ruling.policy, "spec", "rules", ruling.rule)


def _caller(sight: Sight) -> str:
    return sight.peer.identity or f"a caller without an identity ({sight.peer.address})"


def _named(by: str) -> str:
    return by.removeprefix(UNLESS).replace(",", ", ")
