"""What a route makes of a request: headers, authority and path, and where a redirect leads.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/headers
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envoy import names
from explain import matching, route_table
from explain.request import Request
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.route.v3.route_components_pb2 import (
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration

Holder = Route | VirtualHost | RouteConfiguration | WeightedCluster.ClusterWeight
REDIRECT_STATUS = {
    RedirectAction.MOVED_PERMANENTLY: 301,
    RedirectAction.FOUND: 302,
    RedirectAction.SEE_OTHER: 303,
    RedirectAction.TEMPORARY_REDIRECT: 307,
    RedirectAction.PERMANENT_REDIRECT: 308,
}
WELL_KNOWN = {"http": ":80", "https": ":443"}


def headers(request: Request, holders: Iterable[Holder]) -> Request:
    """With the changes of `holders`, the nearest first. Each removes first, and adds then."""
    for each in holders:
        request = request.without_headers(each.request_headers_to_remove)
        for option in each.request_headers_to_add:
            request = _added(request, option)
    return request


def headers_shown(holders: Iterable[Holder]) -> tuple[str, ...]:
    found: list[str] = []
    for each in holders:
        gone = (name for name in each.request_headers_to_remove if name != names.LISTENER)  # our own mark
        found.extend(f"header {name} is removed" for name in gone)
        for option in each.request_headers_to_add:
            how = (
                "is added" if option.append_action == HeaderValueOption.APPEND_IF_EXISTS_OR_ADD else "is set"
            )
            found.append(f"header {option.header.key} {how}: {_plain(option.header.value)}")
    return tuple(found)


def rewritten(request: Request, action: RouteAction, match: RouteMatch) -> Request:
    if action.host_rewrite_literal:
        request = replace(request, authority=action.host_rewrite_literal)
    path = request.bare_path
    if action.HasField("regex_rewrite"):
        pattern, by = action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution
        path = matching.substituted(pattern, by, path)
    elif action.prefix_rewrite:
        path = _prefixed(action.prefix_rewrite, match, path)
    return replace(request, path=path + request.query)


def location(request: Request, redirect: RedirectAction, match: RouteMatch) -> str:
    """Where a redirect leads."""
    scheme = redirect.scheme_redirect or ("https" if redirect.https_redirect else request.scheme)
    port = f":{redirect.port_redirect}" if redirect.port_redirect else ""
    host = redirect.host_redirect or _host(request, scheme, port)
    return f"{scheme}://{host}{port}{_path(request, redirect, match)}"


def _host(request: Request, scheme: str, port: str) -> str:
    """That of the request, with its port, unless the redirect says another or it is the well-known one of another scheme."""
    bare = route_table.without_port(request.authority)
    own = request.authority.removeprefix(bare)
    well_known = scheme != request.scheme and own == WELL_KNOWN.get(request.scheme)
    return bare if port or well_known else request.authority


def _path(request: Request, redirect: RedirectAction, match: RouteMatch) -> str:
    query = "" if redirect.strip_query else request.query
    match redirect.WhichOneof("path_rewrite_specifier"):
        case "path_redirect" if redirect.path_redirect:
            has_query = "?" in redirect.path_redirect
            return redirect.path_redirect if has_query else redirect.path_redirect + query
        case "prefix_rewrite":
            return _prefixed(redirect.prefix_rewrite, match, request.bare_path) + query
        case "regex_rewrite":
            pattern, by = redirect.regex_rewrite.pattern.regex, redirect.regex_rewrite.substitution
            return matching.substituted(pattern, by, request.bare_path) + query
        case _:
            return request.bare_path + query


def _prefixed(by: str, match: RouteMatch, path: str) -> str:
    """Of a path that a regular expression matched, all of it is replaced."""
    if match.WhichOneof("path_specifier") == "safe_regex":
        return by
    return by + path[len(route_table.matched_path(match)) :]


def _added(request: Request, option: HeaderValueOption) -> Request:
    name, value = option.header.key, _plain(option.header.value)
    there = bool(request.values(name))
    match option.append_action:
        case HeaderValueOption.ADD_IF_ABSENT:
            return request if there else request.with_header(name, value)
        case HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD:
            return request.with_header(name, value)
        case HeaderValueOption.OVERWRITE_IF_EXISTS:
            return request.with_header(name, value) if there else request
        case _:
            return request.with_header(name, value, append=True)


def _plain(value: str) -> str:
    """Ours name no command of Envoy's formatter, but for what begins one. What a dump has stays as it is."""
    return value.replace("%%", "%")
