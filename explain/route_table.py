"""Which virtual host and which route of a route configuration takes a request, and why the ones before do not.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from explain import matching
from explain.request import Request
from pb.envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteMatch, VirtualHost
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.type.v3.percent_pb2 import FractionalPercent

DENOMINATORS = {
    FractionalPercent.HUNDRED: 100,
    FractionalPercent.TEN_THOUSAND: 10_000,
    FractionalPercent.MILLION: 1_000_000,
}
UNREAD = ("dynamic_metadata", "filter_state", "tls_context", "cookies")
"""Conditions of a route that a request alone does not answer. Meshwright makes none; a dump may have some."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A route that does not take the request, and what of it does not fit."""

    route: Route
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A route that takes `share` of such requests."""

    route: Route
    share: Fraction


@dataclass(frozen=True, slots=True)
class Lookup:
    """`taken`: one route, or several that share the requests; what is left over finds none. `passed`: those before them."""

    host: VirtualHost | None
    domain: str = ""
    passed: tuple[Passed, ...] = ()
    taken: tuple[Taken, ...] = ()

    @property
    def found(self) -> Fraction:
        return sum((each.share for each in self.taken), Fraction(0))


def look_up(table: RouteConfiguration, request: Request) -> Lookup:
    host, domain = virtual_host(table, request.authority)
    if host is None:
        return Lookup(None)
    passed: list[Passed] = []
    taken: list[Taken] = []
    done = Fraction(0)
    for route in host.routes:
        why = mismatch(route.match, request)
        if why:
            passed.append(Passed(route, why))
            continue
        upto = (
            fraction(route.match.runtime_fraction)
            if route.match.HasField("runtime_fraction")
            else Fraction(1)
        )
        # Envoy draws one number for a request and holds it against each route: a later one gets what is above the earlier ones.
        if upto > done:
            taken.append(Taken(route, upto - done))
            done = upto
        if done >= 1:
            break
    return Lookup(host, domain, tuple(passed), tuple(taken))


def virtual_host(table: RouteConfiguration, authority: str) -> tuple[VirtualHost | None, str]:
    """With the domain that matched: exactly, else the longest `*.x`, else the longest `x.*`, else `*`."""
    name = authority.lower()
    if table.ignore_port_in_host_matching:
        name = without_port(name)
    best: tuple[tuple[int, int], VirtualHost, str] | None = None
    for host in table.virtual_hosts:
        for domain in host.domains:
            rank = _rank(domain.lower(), name)
            if rank is not None and (best is None or rank > best[0]):
                best = (rank, host, domain)
    return (None, "") if best is None else (best[1], best[2])


def without_port(authority: str) -> str:
    head, colon, port = authority.rpartition(":")
    return head if colon and port.isdigit() and not head.endswith(":") and "]" not in port else authority


def mismatch(match: RouteMatch, request: Request) -> str:
    """What of `match` the request does not meet; empty if it meets all but the share."""
    why = _path_mismatch(match, request.bare_path)
    if why:
        return why
    for each in match.headers:
        if not matching.header(each, request):
            return _told(f"wants {matching.header_shown(each)}", request, each.name)
    for parameter in match.query_parameters:
        if not matching.parameter(parameter, request):
            wanted = matching.shown(parameter.string_match) if parameter.HasField("string_match") else "there"
            return f"wants query parameter {parameter.name} {wanted}"
    if match.HasField("grpc") and not request.is_grpc:
        return "wants a gRPC request"
    unread = [each.name for each, _ in match.ListFields() if each.name in UNREAD]
    return f"has conditions that a request alone does not answer: {', '.join(unread)}" if unread else ""


def fraction(of: RuntimeFractionalPercent) -> Fraction:
    """Whatever the runtime says: ours says nothing of it."""
    return percent(of.default_value)


def percent(of: FractionalPercent) -> Fraction:
    return min(Fraction(of.numerator, DENOMINATORS[of.denominator]), Fraction(1))


def matched_path(match: RouteMatch) -> str:
    """What a prefix rewrite replaces of a path that matches."""
    return match.prefix or match.path_separated_prefix or match.path


def path_shown(match: RouteMatch) -> str:
    kind = match.WhichOneof("path_specifier")
    match kind:
        case "prefix" | "path_separated_prefix":
            prefix = matched_path(match)
            return "every path" if prefix in {"", "/"} else f"path {prefix.rstrip('/')}/…"
        case "path":
            return f"path = {match.path}"
        case "safe_regex":
            return f"path ~ {match.safe_regex.regex}"
        case None:
            return "no path"
        case _:
            return f"path by {kind}"


def conditions(match: RouteMatch) -> str:
    """All that a route asks for."""
    query = (
        f"query parameter {each.name} {matching.shown(each.string_match)}" for each in match.query_parameters
    )
    parts = [path_shown(match), *(matching.header_shown(each) for each in match.headers), *query]
    return ", ".join(parts)


def _path_mismatch(match: RouteMatch, path: str) -> str:
    kind = match.WhichOneof("path_specifier")
    any_case = match.HasField("case_sensitive") and not match.case_sensitive.value
    held = path.lower() if any_case else path

    def cased(value: str) -> str:
        return value.lower() if any_case else value

    fits = False
    match kind:
        case "prefix":
            fits = held.startswith(cased(match.prefix))
        case "path":
            fits = held == cased(match.path)
        case "safe_regex":
            fits = matching.expression(match.safe_regex.regex, path)
        case "path_separated_prefix":
            wanted = cased(match.path_separated_prefix)
            fits = held.startswith(wanted) and held[len(wanted) : len(wanted) + 1] in {"", "/"}
        case _:
            return f"matches paths in a way that is not known here: {kind}"
    return "" if fits else f"wants {path_shown(match)}"


def _rank(domain: str, name: str) -> tuple[int, int] | None:
    """The kind of the match, then its length; None if there is none."""
    if domain == name:
        return 3, len(domain)
    if domain == "*":
        return 0, 0
    if domain.startswith("*") and len(name) > len(domain) - 1 and name.endswith(domain[1:]):
        return 2, len(domain)
    if domain.endswith("*") and len(name) > len(domain) - 1 and name.startswith(domain[:-1]):
        return 1, len(domain)
    return None


def _told(wanted: str, request: Request, name: str) -> str:
    found = request.header(name)
    if name == ":method":
        return wanted
    if name in matching.SECRET and found is not None:
        return f"wants another header {name}"
    return f"{wanted}, which the request has not" if found is None else f"{wanted}, but it is {_short(found)}"


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}..."
