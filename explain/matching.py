"""Whether a value, a header or a parameter of the query matches, as Envoy matches it.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/type/matcher/v3/string.proto
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto#config-route-v3-headermatcher
"""

from __future__ import annotations

from typing import Any

import re2

from explain.request import Request
from pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from pb.envoy.type.matcher.v3.string_pb2 import StringMatcher

SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""Headers whose values nobody is told, neither what is sent nor what is wanted."""


def text(matcher: StringMatcher, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return expression(matcher.safe_regex.regex, value)
    if kind is None:
        return False
    # Values are bytes, each a character here; what we compare them with is UTF-8 when it is sent.
    wanted = str(getattr(matcher, kind)).encode().decode("latin-1")
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    match kind:
        case "exact":
            return value == wanted
        case "prefix":
            return value.startswith(wanted)
        case "suffix":
            return value.endswith(wanted)
        case "contains":
            return wanted in value
        case _:
            return False


def expression(pattern: str, value: str) -> bool:
    """Whether all of `value` matches, by the engine that Envoy has, byte by byte as there."""
    return compiled(pattern).fullmatch(_bytes(value)) is not None


def substituted(pattern: str, by: str, value: str) -> str:
    r"""`value` with every match of `pattern` replaced. `by` may name groups: `\1`."""
    return str(compiled(pattern).sub(by.encode(), _bytes(value)).decode("latin-1"))


def compiled(pattern: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode(), options)


def header(matcher: HeaderMatcher, request: Request) -> bool:
    """Whether the request's header matches: of several values of one name, one that does is enough.

    So Envoy does since 1.39 for routes (`envoy.reloadable_features.match_headers_individually`) and since 1.37.1 for access. Before, it
    compared all of them as one, with commas between.
    """
    values = request.values(matcher.name)
    kind = matcher.WhichOneof("header_match_specifier")
    if kind in {None, "present_match"}:
        wanted = matcher.present_match if kind is not None else True
        return (bool(values) == wanted) != matcher.invert_match
    if not values:
        if not matcher.treat_missing_header_as_empty:
            return False  # whatever it would be compared with, inverted or not
        values = ("",)
    return any(_value(matcher, str(kind), value) for value in values) != matcher.invert_match


def parameter(matcher: QueryParameterMatcher, request: Request) -> bool:
    """Of several values of one name the first counts."""
    found = next((value for name, value in request.parameters() if name == matcher.name), None)
    match matcher.WhichOneof("query_parameter_match_specifier"):
        case "string_match":
            return found is not None and text(matcher.string_match, found)
        case "present_match":
            return (found is not None) == matcher.present_match
        case _:
            return found is not None


def shown(matcher: StringMatcher) -> str:
    """As people would write it."""
    kind = matcher.WhichOneof("match_pattern")
    match kind:
        case None:
            return "nothing"
        case "safe_regex":
            return f"~ {matcher.safe_regex.regex}"
        case "exact":
            return f"= {matcher.exact}"
        case "prefix":
            return f"= {matcher.prefix}*"
        case "suffix":
            return f"= *{matcher.suffix}"
        case _:
            return f"{kind} {getattr(matcher, kind)}"


def header_shown(matcher: HeaderMatcher) -> str:
    name = "method" if matcher.name == ":method" else f"header {matcher.name}"
    unless = "not " if matcher.invert_match else ""
    kind = matcher.WhichOneof("header_match_specifier")
    if kind == "string_match" and matcher.name in SECRET:
        return f"{unless}{name} as it says"
    if kind == "string_match":
        return f"{unless}{name} {shown(matcher.string_match)}"
    if kind in {None, "present_match"}:
        return f"{unless}{name} is {'there' if kind is None or matcher.present_match else 'not there'}"
    return f"{unless}{name} {str(kind).removesuffix('_match')}"


def _value(matcher: HeaderMatcher, kind: str, value: str) -> bool:
    match kind:
        case "string_match":
            return text(matcher.string_match, value)
        case "exact_match":
            return value == matcher.exact_match
        case "prefix_match":
            return value.startswith(matcher.prefix_match)
        case "suffix_match":
            return value.endswith(matcher.suffix_match)
        case "contains_match":
            return matcher.contains_match in value
        case "safe_regex_match":
            return expression(matcher.safe_regex_match.regex, value)
        case "range_match":
            return _number(value, matcher.range_match.start, matcher.range_match.end)
        case _:
            return False


def _number(value: str, start: int, end: int) -> bool:
    try:
        return start <= int(value) < end
    except ValueError:
        return False


def _bytes(value: str) -> bytes:
    return value.encode("latin-1", "replace")
