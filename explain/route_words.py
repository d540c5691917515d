"""A route in words: which document and rule it is, what it asks for, and how requests by it are tried again and timed out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envoy import names, route_actions, routes
from explain import changes, route_table
from explain.answer import Source, Step
from explain.blame import Said
from explain.route_table import Lookup
from explain.sight import Sight
from explain.wording import duration, share
from mesh.names import Key
from mesh.routes import Match
from mesh.routes import Route as RouteDocument
from mesh.rules import RuleView
from mesh.state import MeshState
from mesh.targeting import RouteName
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteAction

NAME = re.compile(r"(?P<kind>[A-Za-z]+) (?P<key>[^/ ]+/[^/ #]+)#(?P<place>[0-9]+)")
"""As `envoy.http_routes.route_name` writes it."""
NOBODY = "nobody says otherwise"
"""Why a limit is what it is, where no document speaks of it."""
PASSED = 8
"""Routes that are told of which do not take a request: the last, which are the nearest."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of a document that a route was made of."""

    kind: str
    key: Key
    place: int

    def __str__(self) -> str:
        return f"{self.kind} {self.key}, rule {self.place + 1}"


def rule_of(route: Route) -> Rule | None:
    found = NAME.fullmatch(route.name)
    return None if found is None else Rule(found["kind"], Key.parse(found["key"]), int(found["place"]))


def view(state: MeshState, rule: Rule | None) -> RuleView | None:
    """What of the rule policies are merged with; None where the state does not know it."""
    document = None if rule is None else state.declared.get((rule.kind, rule.key))
    if rule is None or not isinstance(document, RouteDocument) or rule.place >= len(document.rules):
        return None
    said, name = document.rules[rule.place], RouteName(rule.kind, rule.key)
    return RuleView(
        name, rule.place, Match(), (), timeouts=said.timeouts, retry=said.retry, origin=document.origin
    )


def named(route: Route) -> str:
    rule = rule_of(route)
    if rule is not None:
        return str(rule)
    known = {
        routes.DEFAULT: "no route is attached: everything goes to the service itself",
        routes.NO_MATCH: "no rule takes it",
        names.UNKNOWN: "hosts that nobody in the mesh knows",
        "wildcard": "a service outside whose host is a wildcard",
        "nobody": "names of the mesh that nobody has",
        "": "the listener of another server name",
    }
    return known.get(route.name, f"route {route.name}")


def source(sight: Sight, route: Route, *path: str | int) -> tuple[Source, ...]:
    rule = rule_of(route)
    if rule is None:
        return ()
    return (sight.blame.policy(rule.kind, rule.key, "spec", "rules", rule.place, *path),)


def chosen(lookup: Lookup, sight: Sight) -> Step:
    """Which route was taken, and why not the ones before it."""
    told = [each for each in lookup.passed if rule_of(each.route) is not None]
    passed = told[-PASSED:]
    more = len(told) - len(passed)
    details = [f"not {named(each.route)}: it {each.why}" for each in passed]
    if more > 0:
        details.insert(0, f"not {more} before these")
    if not lookup.taken:
        return sight.step("route", "none takes it", tuple(details))
    if len(lookup.taken) == 1:
        route = lookup.taken[0].route
        asks = route_table.conditions(route.match)
        said = named(route) if rule_of(route) is None else f"{named(route)}, takes it: {asks}"
        return sight.step("route", said, tuple(details), source(sight, route))
    said = "; ".join(f"{share(each.share)} by {named(each.route)}" for each in lookup.taken)
    sources = tuple(one for each in lookup.taken for one in source(sight, each.route))
    return sight.step("route", f"requests are shared out: {said}", tuple(details), sources)


def changed(route: Route, holders: tuple[changes.Holder, ...], sight: Sight) -> tuple[Step, ...]:
    details = list(changes.headers_shown(holders))
    action = route.route
    if action.host_rewrite_literal:
        details.append(f"the host becomes {action.host_rewrite_literal}")
    if action.prefix_rewrite:
        details.append(f"the path's beginning becomes {action.prefix_rewrite}")
    if action.HasField("regex_rewrite"):
        details.append(f"the path is rewritten to {action.regex_rewrite.substitution}")
    if not details:
        return ()
    return (sight.step("changes", "the request is changed", tuple(details), source(sight, route, "filters")),)


def mirrored(action: RouteAction, route: Route, sight: Sight) -> tuple[Step, ...]:
    if not action.request_mirror_policies:
        return ()
    copies = ", ".join(
        f"{share(route_table.fraction(each.runtime_fraction))} to {each.cluster}"
        for each in action.request_mirror_policies
    )
    said = f"a copy is sent, whose answer nobody waits for: {copies}"
    return (sight.step("mirror", said, (), source(sight, route, "filters")),)


def timed(action: RouteAction, sight: Sight) -> Step:
    """Timeouts and retries, each with the policy that set it."""
    place = sight.calls
    timeouts = sight.blame.merged("TimeoutPolicy", place, sight.rule) if place is not None else {}
    retries = sight.blame.merged("RetryPolicy", place, sight.rule) if place is not None else {}
    sources: list[Source] = []

    def because(said: dict[str, Said], *fields: str) -> str:
        found = next((said[each] for each in fields if each in said), None)
        if found is None:
            return NOBODY
        sources.append(found.source)
        return str(found.source)

    details = [f"timeout {duration(action.timeout)}: {because(timeouts, 'request')}"]
    retry = action.retry_policy
    if retry.HasField("per_try_timeout"):
        # A policy of retries says it last, so it is what counts.
        why = because(retries, "perTryTimeout") if "perTryTimeout" in retries else because(timeouts, "perTry")
        details.append(f"timeout of one try {duration(retry.per_try_timeout)}: {why}")
    if action.HasField("idle_timeout"):
        details.append(f"idle timeout {duration(action.idle_timeout)}: {because(timeouts, 'idle')}")
    if action.HasField("max_stream_duration") and action.max_stream_duration.HasField("max_stream_duration"):
        longest = duration(action.max_stream_duration.max_stream_duration)
        details.append(f"longest stream {longest}: {because(timeouts, 'stream')}")
    details.append(f"retries {_retries(action)}: {because(retries, 'attempts', 'on', 'codes')}")
    return sight.step("limits", "timeouts and retries", tuple(details), tuple(sources))


def _retries(action: RouteAction) -> str:
    policy = action.retry_policy
    if not policy.retry_on or not policy.num_retries.value:
        return "off"
    on = [each for each in policy.retry_on.split(",") if each != "retriable-headers"]
    if policy.retriable_status_codes:
        codes = ", ".join(map(str, policy.retriable_status_codes))
        on = [f"status {codes}" if each == "retriable-status-codes" else each for each in on]
    default = tuple(on) == route_actions.SAFE_RETRIES
    what = "what cannot have reached the application" if default else ", ".join(on)
    return f"at most {policy.num_retries.value}, of {what}"
