"""What a route changes of requests and answers: headers, redirects, rewrites.

https://gateway-api.sigs.k8s.io/reference/spec/#httproutefilter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/headers
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass, field

from mesh.routes import (
    Filter,
    PathKind,
    PathMatch,
    PathRewrite,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    RewriteKind,
    UrlRewrite,
)
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.route.v3.route_components_pb2 import RedirectAction, Route, RouteAction

HOST = "host"
WELL_KNOWN = {"http": 80, "https": 443}
STATUS: dict[int, RedirectAction.RedirectResponseCode.ValueType] = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


def change_headers(route: Route, filters: Iterable[Filter]) -> None:
    """What the header modifiers among `filters` do, one after another.

    Envoy removes, then overwrites, then appends, in one go; so what a later modifier undoes of an earlier one is left out.
    """
    filters = tuple(filters)
    request = _Changes()
    response = _Changes()
    for each in filters:
        if isinstance(each, RequestHeaderModifier):
            request.then(each)
        elif isinstance(each, ResponseHeaderModifier):
            response.then(each)
    # The authority is no header to Envoy: `authority` below sees to it.
    request.of.pop(HOST, None)
    request.write(route.request_headers_to_add, route.request_headers_to_remove)
    response.write(route.response_headers_to_add, route.response_headers_to_remove)


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where requests come in: the port, None if that is not known, and what is spoken there, `http` or `https`."""

    port: int | None = None
    scheme: str = "http"


def redirect(made: RedirectAction, wanted: RequestRedirect, matched: PathMatch, entrance: Entrance) -> None:
    """Make `made` answer with `wanted`.

    The port in Location follows https://gateway-api.sigs.k8s.io/reference/spec/#httprequestredirectfilter: the given one; else
    the well-known one of the scheme, where one is given; else the one that the request came in by. Envoy by itself keeps
    the port of the request's authority, also under another scheme, and has none with another host name.
    """
    made.response_code = STATUS[wanted.status]
    if wanted.scheme is not None:
        made.scheme_redirect = wanted.scheme
    if wanted.hostname is not None:
        made.host_redirect = wanted.hostname
    found = _redirect_port(wanted, entrance)
    if found is not None:
        made.port_redirect = found
    if wanted.path is not None:
        _redirect_path(made, wanted.path, matched)


def rewrite(action: RouteAction, filters: Iterable[Filter], matched: PathMatch) -> None:
    """What URL rewrites, and changes of the header `host`, among `filters` make of authority and path."""
    for each in filters:
        if isinstance(each, RequestHeaderModifier):
            for header in (*each.set, *each.add):
                if header.name == HOST:
                    action.host_rewrite_literal = header.value
        elif isinstance(each, UrlRewrite):
            if each.hostname is not None:
                action.host_rewrite_literal = each.hostname
            if each.path is not None:
                _rewrite_path(action, each.path, matched)


@dataclass(slots=True)
class _Change:
    removed: bool = False
    value: str | None = None
    added: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Changes:
    """By name of a header, what several modifiers come to."""

    of: dict[str, _Change] = field(default_factory=dict)

    def then(self, modifier: RequestHeaderModifier | ResponseHeaderModifier) -> None:
        for name in modifier.remove:
            self.of[name] = _Change(removed=True)
        for header in modifier.set:
            self.of[header.name] = _Change(value=header.value)
        for header in modifier.add:
            self.of.setdefault(header.name, _Change()).added.append(header.value)

    def write(self, add: MutableSequence[HeaderValueOption], remove: MutableSequence[str]) -> None:
        for name, change in self.of.items():
            if change.removed:
                remove.append(name)
            if change.value is not None:
                add.append(_option(name, change.value, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD))
            for value in change.added:
                add.append(_option(name, value, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD))


def _option(
    name: str, value: str, action: HeaderValueOption.HeaderAppendAction.ValueType
) -> HeaderValueOption:
    made = HeaderValueOption(append_action=action)
    made.header.key = name
    made.header.value = value.replace("%", "%%")  # `%` begins a command of Envoy's formatter
    made.keep_empty_value = not value
    return made


def _redirect_port(wanted: RequestRedirect, entrance: Entrance) -> int | None:
    """The port to put into Location; None leaves it to Envoy, see `redirect`. The well-known one is better left out."""
    port = wanted.port
    if port is None:
        port = WELL_KNOWN.get(wanted.scheme or "", entrance.port)
    if port is None or port != WELL_KNOWN.get(wanted.scheme or entrance.scheme):
        return port
    if wanted.hostname is not None or entrance.port == WELL_KNOWN[entrance.scheme]:
        return (
            None  # no port in the authority, or the well-known one, which Envoy drops when the scheme changes
        )
    return port


def _redirect_path(made: RedirectAction, wanted: PathRewrite, matched: PathMatch) -> None:
    if wanted.kind is RewriteKind.FULL:
        made.path_redirect = wanted.value
    else:
        _replace_prefix(made, wanted, matched)


def _rewrite_path(action: RouteAction, wanted: PathRewrite, matched: PathMatch) -> None:
    action.ClearField("prefix_rewrite")
    action.ClearField("regex_rewrite")
    if wanted.kind is RewriteKind.FULL:
        action.regex_rewrite.pattern.regex = "^/.*"  # of the path without its query, which stays
        action.regex_rewrite.substitution = wanted.value.replace("\\", "\\\\")
    else:
        _replace_prefix(action, wanted, matched)


def _replace_prefix(action: RedirectAction | RouteAction, wanted: PathRewrite, matched: PathMatch) -> None:
    if matched.kind is not PathKind.PREFIX:
        return
    prefix = _prefix(wanted.value, matched.value)
    if prefix:
        action.prefix_rewrite = prefix
    else:
        action.regex_rewrite.pattern.regex = _below(matched.value)
        action.regex_rewrite.substitution = "/"


def _prefix(wanted: str, matched: str) -> str:
    """What the very text of a matched prefix becomes, for `/foo` → `/xyz`, `/foo/bar` → `/xyz/bar`; empty: see `_below`.

    The text of `/` is the slash that all paths begin with, and is still needed between the new prefix and the rest.
    """
    wanted = wanted.rstrip("/")
    return f"{wanted}/" if wanted and matched == "/" else wanted


def _below(matched: str) -> str:
    """A prefix that vanishes takes the slash behind it along, or `/foo/bar` would become `//bar`, and `/foo` nothing."""
    return f"^{re.escape(matched.rstrip('/'))}/*"
