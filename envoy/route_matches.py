"""Which requests a route takes: the matches of the Gateway API as Envoy's.

https://gateway-api.sigs.k8s.io/reference/spec/#httproutematch
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto#config-route-v3-routematch
"""

from __future__ import annotations

import re
from urllib.parse import quote

from mesh.routes import Match, PathKind, PathMatch, ValueKind, ValueMatch
from pb.envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from pb.envoy.config.route.v3.route_components_pb2 import RouteMatch
from pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from pb.envoy.type.v3.percent_pb2 import FractionalPercent

EVERY_PATH = PathMatch(PathKind.PREFIX, "/")
MILLION = 1_000_000


def fill(made: RouteMatch, match: Match) -> None:
    """Make `made` take what meets all of `match`. Regular expressions are RE2 and match whole values, paths without query."""
    _path(made, match.path or EVERY_PATH)
    if match.method is not None:
        method = made.headers.add()
        method.name = ":method"
        method.string_match.exact = match.method
    for each in match.headers:
        header = made.headers.add()
        header.name = each.name
        _value(header.string_match, each)
    for each in match.query:
        parameter = made.query_parameters.add()
        parameter.name = each.name
        _query(parameter.string_match, each)


def millionths(made: RuntimeFractionalPercent, numerator: int, denominator: int) -> None:
    """Make `made` the share `numerator` of `denominator`, to the nearest millionth, the finest that Envoy knows."""
    made.default_value.numerator = (numerator * MILLION + denominator // 2) // denominator
    made.default_value.denominator = FractionalPercent.MILLION


def _path(made: RouteMatch, path: PathMatch) -> None:
    match path.kind:
        case PathKind.EXACT:
            made.path = path.value
        case PathKind.REGEX:
            made.safe_regex.regex = path.value
        case PathKind.PREFIX if path.value.endswith("/"):
            made.prefix = path.value  # `/`, or the `/<service>/` of a gRPC service
        case PathKind.PREFIX:
            made.path_separated_prefix = path.value


def _value(made: StringMatcher, match: ValueMatch) -> None:
    if match.kind is ValueKind.REGEX:
        made.safe_regex.regex = match.value
    else:
        made.exact = match.value


def _query(made: StringMatcher, match: ValueMatch) -> None:
    """Envoy compares what stands in the query, undecoded. So that `a b` is found as `a%20b` and `a+b`, each character of an exact
    value that may need it is looked for encoded too (https://url.spec.whatwg.org/#urlencoded-serializing).
    """
    if match.kind is ValueKind.REGEX or quote(match.value, safe="") == match.value:
        _value(made, match)
    else:
        made.safe_regex.regex = "".join(_encoded(each) for each in match.value)


def _encoded(character: str) -> str:
    quoted = quote(character, safe="")
    if quoted == character:
        return re.escape(character)
    plus = r"|\+" if character == " " else ""
    return f"(?:{re.escape(character)}|(?i:{quoted}){plus})"
