"""Whether an RBAC filter refuses a request or a connection, from the very message that Envoy has.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/rbac/v3/rbac.proto
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from explain import matching
from explain.request import Claims, Request
from pb.envoy.config.core.v3.address_pb2 import CidrRange
from pb.envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from pb.envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http
from pb.envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network
from pb.envoy.extensions.rbac.principals.mtls_authenticated.v3.mtls_authenticated_pb2 import Config
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher
from pb.envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from pb.envoy.type.matcher.v3.value_pb2 import ValueMatcher


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection. `identity`: the SPIFFE id that its certificate proves; None: it shows none.

    `port` is where it came to, `server_name` what it asked for.
    """

    identity: str | None = None
    address: str = "127.0.0.1"
    port: int = 0
    server_name: str = ""


class Unreadable(Exception):
    """A condition that a request and a connection do not answer, or that is not known here."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`by`: the policy, by its name in the message, that decides. Empty where none matches. `unread`: why it cannot be told."""

    allowed: bool
    by: str = ""
    unread: str = ""


def enforced(config: http.RBAC | network.RBAC, peer: Peer, request: Request | None) -> Decision:
    """What a filter makes of it; without rules it refuses nothing."""
    return decided(config.rules, peer, request) if config.HasField("rules") else Decision(True)


def on_trial(config: http.RBAC | network.RBAC, peer: Peer, request: Request | None) -> Decision:
    """What a filter would make of it by rules that are on trial."""
    return decided(config.shadow_rules, peer, request) if config.HasField("shadow_rules") else Decision(True)


def decided(rules: RBAC, peer: Peer, request: Request | None) -> Decision:
    """What `rules` make of it. Envoy looks at policies by name; the first that matches counts."""
    denies = rules.action == RBAC.DENY
    for name in sorted(rules.policies):
        try:
            found = _matches(rules.policies[name], peer, request)
        except Unreadable as error:
            return Decision(True, name, str(error))
        if found:
            return Decision(not denies, name)
    return Decision(denies or rules.action == RBAC.LOG)


def _matches(policy: Policy, peer: Peer, request: Request | None) -> bool:
    return any(_permitted(each, peer, request) for each in policy.permissions) and any(
        _is(each, peer, request) for each in policy.principals
    )


def _is(who: Principal, peer: Peer, request: Request | None) -> bool:
    match who.WhichOneof("identifier"):
        case "any":
            return who.any
        case "and_ids":
            return all(_is(each, peer, request) for each in who.and_ids.ids)
        case "or_ids":
            return any(_is(each, peer, request) for each in who.or_ids.ids)
        case "not_id":
            return not _is(who.not_id, peer, request)
        case "direct_remote_ip":
            return _within(who.direct_remote_ip, peer.address)
        case "remote_ip":
            return _within(who.remote_ip, peer.address)
        case "source_ip":
            return _within(who.source_ip, peer.address)
        case "header":
            return request is not None and matching.header(who.header, request)
        case "url_path":
            return request is not None and matching.text(who.url_path.path, request.bare_path)
        case "sourced_metadata":
            return _said(who.sourced_metadata.metadata_matcher, request)
        case "metadata":
            return _said(who.metadata, request)
        case "authenticated":
            if not who.authenticated.HasField("principal_name"):
                return peer.identity is not None
            return peer.identity is not None and matching.text(
                who.authenticated.principal_name, peer.identity
            )
        case "custom" if who.custom.typed_config.Is(Config.DESCRIPTOR):
            return _certified(Config.FromString(who.custom.typed_config.value), peer)
        case other:
            raise Unreadable(f"a condition on callers by {other}")


def _permitted(what: Permission, peer: Peer, request: Request | None) -> bool:
    match what.WhichOneof("rule"):
        case "any":
            return what.any
        case "and_rules":
            return all(_permitted(each, peer, request) for each in what.and_rules.rules)
        case "or_rules":
            return any(_permitted(each, peer, request) for each in what.or_rules.rules)
        case "not_rule":
            return not _permitted(what.not_rule, peer, request)
        case "header":
            return request is not None and matching.header(what.header, request)
        case "url_path":
            return request is not None and matching.text(what.url_path.path, request.bare_path)
        case "destination_port":
            return what.destination_port == peer.port
        case "requested_server_name":
            return matching.text(what.requested_server_name, peer.server_name)
        case "sourced_metadata":
            return _said(what.sourced_metadata.metadata_matcher, request)
        case "metadata":
            return _said(what.metadata, request)
        case "matcher":
            raise Unreadable("the address that it resolves to")
        case other:
            raise Unreadable(f"a condition on requests by {other}")


def _certified(config: Config, peer: Peer) -> bool:
    if peer.identity is None:
        return False
    if not config.HasField("san_matcher"):
        return True
    if config.san_matcher.san_type != SubjectAltNameMatcher.URI:
        raise Unreadable("a condition on names of a certificate other than URIs")
    return matching.text(config.san_matcher.matcher, peer.identity)


def _within(block: CidrRange, address: str) -> bool:
    length = block.prefix_len.value if block.HasField("prefix_len") else 0
    network = ipaddress.ip_network(f"{block.address_prefix}/{length}", strict=False)
    return ipaddress.ip_address(address) in network


JWT = "envoy.filters.http.jwt_authn"


def _said(matcher: MetadataMatcher, request: Request | None) -> bool:
    """Of the metadata that filters leave behind, the claims of a verified token: the first step of the path is the key they are under."""
    if matcher.filter != JWT:
        raise Unreadable(f"a condition on metadata of {matcher.filter}")
    claims: Claims | None = request.claims if request is not None else None
    found: object = claims
    for step in [each.key for each in matcher.path][1:]:
        if not isinstance(found, Mapping) or step not in found:
            return matcher.invert
        found = found[step]
    there = claims is not None and _value(matcher.value, found)
    return there != matcher.invert


def _value(matcher: ValueMatcher, value: object) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "present_match":
            return matcher.present_match
        case "null_match":
            return value is None
        case "bool_match":
            return isinstance(value, bool) and value is matcher.bool_match
        case "string_match":
            return isinstance(value, str) and matching.text(matcher.string_match, _as_bytes(value))
        case "double_match":
            return _number(matcher, value)
        case "list_match":
            return isinstance(value, list) and any(_value(matcher.list_match.one_of, each) for each in value)
        case "or_match":
            return _any(matcher.or_match.value_matchers, value)
        case other:
            raise Unreadable(f"a condition on a claim by {other}")


def _any(matchers: Iterable[ValueMatcher], value: object) -> bool:
    return any(_value(each, value) for each in matchers)


def _number(matcher: ValueMatcher, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    wanted = matcher.double_match
    if wanted.HasField("range"):
        return wanted.range.start <= float(value) < wanted.range.end
    return float(value) == wanted.exact


def _as_bytes(value: str) -> str:
    """As the values of headers are here: each byte a character."""
    return value.encode().decode("latin-1")
