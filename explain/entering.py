"""What a connection manager does with a request before its route is looked for.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/header_sanitizing
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from explain.local_replies import answered, redirected
from explain.request import Request
from explain.sight import Passing, Sight
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption
from pb.envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from policies.access_paths import normal

ESCAPED_SLASH = re.compile(r"%(2f|5c)", re.IGNORECASE)
CALLER = "x-forwarded-client-cert"
FORWARDED = (
    ("x-forwarded-proto", "http"),
    ("x-request-id", "(made by the sidecar)"),
)


def enter(manager: HttpConnectionManager, request: Request, sight: Sight) -> Passing:
    """The request as filters and routes see it; or what is answered because it is none that can be taken."""
    ended = _unfit(manager, request, sight)
    if ended is not None:
        return ended
    bare, query = request.bare_path, request.query
    if manager.path_with_escaped_slashes_action == HttpConnectionManager.UNESCAPE_AND_REDIRECT:
        unescaped = ESCAPED_SLASH.sub(_slash, bare)
        if unescaped != bare:
            return _elsewhere(replace(request, path=unescaped + query), manager, sight)
    if manager.normalize_path.value:
        bare = normal(bare, merged=manager.merge_slashes)
    request = replace(request, path=bare + query)
    request = _mutated(manager, request)
    sanitised = {HttpConnectionManager.SANITIZE, HttpConnectionManager.SANITIZE_SET}
    if manager.forward_client_cert_details in sanitised:
        request = request.without_headers((CALLER,))
    if manager.forward_client_cert_details == HttpConnectionManager.SANITIZE_SET and sight.peer.identity:
        request = request.with_header(CALLER, f"URI={sight.peer.identity}")
    for name, value in FORWARDED:
        if request.header(name) is None:
            said = request.scheme if name == "x-forwarded-proto" else value
            request = request.with_header(name, said)
    return Passing(request)


def _unfit(manager: HttpConnectionManager, request: Request, sight: Sight) -> Passing | None:
    why = ""
    underscores = manager.common_http_protocol_options.headers_with_underscores_action
    if "#" in request.path:
        why = "a path must not have a fragment"
    elif not request.path.startswith("/") and not (request.path == "*" and request.method == "OPTIONS"):
        why = "a path begins with a slash"
    elif not request.authority:
        why = "it has no host"
    elif underscores == HttpProtocolOptions.REJECT_REQUEST:
        bad = next((name for name, _ in request.headers if "_" in name), None)
        why = f"the gateway takes no header with an underscore, such as {bad}" if bad else ""
    if not why:
        return None
    step = sight.step("request", f"400: {why}")
    outcome = answered(request, 400, why, "Correct the request")
    return Passing(request, (step,), ((Fraction(1), outcome),))


def _elsewhere(request: Request, manager: HttpConnectionManager, sight: Sight) -> Passing:
    bare = normal(request.bare_path, merged=manager.merge_slashes) if manager.normalize_path.value else ""
    where = (bare or request.bare_path) + request.query
    why = "a path with an encoded slash is asked for again without it"
    outcome = redirected(307, where, why)
    return Passing(request, (sight.step("request", f"307: {why}"),), ((Fraction(1), outcome),))


def _slash(found: re.Match[str]) -> str:
    return "/" if found[1].lower() == "2f" else "\\"


def _mutated(manager: HttpConnectionManager, request: Request) -> Request:
    for each in manager.early_header_mutation_extensions:
        if not each.typed_config.Is(HeaderMutation.DESCRIPTOR):
            continue
        for mutation in HeaderMutation.FromString(each.typed_config.value).mutations:
            if mutation.WhichOneof("action") == "remove":
                request = request.without_headers((mutation.remove,))
            elif mutation.WhichOneof("action") == "append":
                header = mutation.append.header
                add = mutation.append.append_action == HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
                request = request.with_header(header.key, header.value, append=add)
    return request
