"""Decisions about access in Envoy's messages.

Everything that is refused is refused by one RBAC filter of action DENY: by the policies that deny, and by one more for what no policy
allows, under a name that tells which could have. So the name that Envoy gives to a refusal, in `rbac_access_denied_matched_policy[…]` and
in its metadata, always leads to a document.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/rbac_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/network_filters/rbac_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/rbac/v3/rbac.proto
"""

from __future__ import annotations

import ipaddress
from typing import Final

from envoy.packing import pack, type_url
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from pb.envoy.config.core.v3.address_pb2 import CidrRange
from pb.envoy.config.listener.v3.listener_components_pb2 import Filter
from pb.envoy.config.rbac.v3 import rbac_pb2 as rules
from pb.envoy.config.rbac.v3.rbac_pb2 import Policy, Principal
from pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from pb.envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network
from pb.envoy.extensions.rbac.principals.mtls_authenticated.v3.mtls_authenticated_pb2 import Config
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher
from pb.envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from pb.envoy.type.matcher.v3.string_pb2 import StringMatcher
from pb.envoy.type.matcher.v3.value_pb2 import ValueMatcher
from policies.access_conditions import (
    ALWAYS,
    Address,
    Claim,
    Condition,
    Either,
    Every,
    Header,
    How,
    Identity,
    Not,
    PathIs,
    Text,
)
from policies.access_rules import Named, Plan

HTTP: Final = "envoy.filters.http.rbac"
AUDIT: Final = "envoy.filters.http.access_audit"
"""Sorts before all that refuses, so that what is refused is audited, too."""
NETWORK: Final = "envoy.filters.network.rbac"
OF_PORT: Final = ".port"
"""Ends the names of those that stand in one connection manager only: what a route says is said to the filter of that very name."""
CERTIFICATE: Final = "envoy.rbac.principals.mtls_authenticated"

JWT: Final = "envoy.filters.http.jwt_authn"
PAYLOAD: Final = "payload"
"""Where the claims of a verified token are: the namespace of the metadata, and the key in it, for every issuer."""

ON_TRIAL, AUDITED = "dry_run_", "audit_"
"""Prefixes of the metadata that say what policies on trial, and those that audit, make of a request."""


def standing() -> tuple[HttpFilter, HttpFilter]:
    """The filters as they stand in every connection manager, disabled: routes say the rules."""
    return _filter(HTTP, RBAC(), disabled=True), _filter(AUDIT, RBAC(), disabled=True)


def on_routes(plan: Plan) -> Parts:
    """For the routes of a service's port: a change of policies changes routes alone."""
    route = Route()
    for name, config in _configs(plan):
        pack(route.typed_per_filter_config[name], RBACPerRoute(rbac=config))
    return Parts(route=serialised(route)) if route.typed_per_filter_config else NOTHING


def on_manager(plan: Plan) -> Parts:
    """For a connection manager as a whole, whatever its routes are, and beside what these say."""
    made = (_filter(name + OF_PORT, config, disabled=False) for name, config in _configs(plan))
    return Parts(http_filters=tuple(made))


def on_connections(plan: Plan, stat_prefix: str) -> Parts:
    """For connections that nobody looks into. Envoy looks at one when its first byte comes, and closes it if it is refused."""
    made = []
    if plan.audited:  # before it is refused
        made.append(_network(network.RBAC(stat_prefix=f"{stat_prefix}.audit"), (), plan.audited, AUDITED))
    if plan.refused or plan.would_refuse:
        config = network.RBAC(stat_prefix=stat_prefix)
        made.append(_network(config, plan.refused, plan.would_refuse, ON_TRIAL))
    return Parts(network_filters=tuple(made))


def _network(config: network.RBAC, refused: Named, shadow: Named, prefix: str) -> bytes:
    if refused:
        config.rules.CopyFrom(_rules(refused))
    if shadow:
        config.shadow_rules.CopyFrom(_rules(shadow))
        config.shadow_rules_stat_prefix = prefix
    made = Filter(name=NETWORK)
    pack(made.typed_config, config)
    return serialised(made)


def _configs(plan: Plan) -> list[tuple[str, RBAC]]:
    made = []
    if plan.refused or plan.would_refuse:
        config = RBAC(track_per_rule_stats=True)
        if plan.refused:
            config.rules.CopyFrom(_rules(plan.refused))
        if plan.would_refuse:
            config.shadow_rules.CopyFrom(_rules(plan.would_refuse))
            config.shadow_rules_stat_prefix = ON_TRIAL
        made.append((HTTP, config))
    if plan.audited:
        config = RBAC(track_per_rule_stats=True, shadow_rules_stat_prefix=AUDITED)
        config.shadow_rules.CopyFrom(_rules(plan.audited))
        made.append((AUDIT, config))
    return made


def _filter(name: str, config: RBAC, *, disabled: bool) -> HttpFilter:
    return HttpFilter(FilterOrder.AUTHORIZATION, name, type_url(RBAC), serialised(config), disabled=disabled)


def _rules(named: Named) -> rules.RBAC:
    made = rules.RBAC(action=rules.RBAC.DENY)
    for name, condition in named:
        policy = Policy()
        policy.permissions.add().any = True
        policy.principals.append(principal(condition))
        made.policies[name].CopyFrom(policy)
    return made


def principal(condition: Condition) -> Principal:
    """Everything can be said as a principal; permissions, apart from it, could not be negated together with it."""
    made = Principal()
    match condition:
        case Every(parts) if condition == ALWAYS:
            made.any = True
        case Every(parts):
            made.and_ids.ids.extend(principal(each) for each in parts)
        case Either(parts):
            made.or_ids.ids.extend(principal(each) for each in parts)
        case Not(part):
            made.not_id.CopyFrom(principal(part))
        case Identity(text):
            _certificate(made, text)
        case Address(block):
            made.direct_remote_ip.CopyFrom(_cidr(block))
        case Header(name, text):
            made.header.CopyFrom(_header(name, text))
        case PathIs(text):
            made.url_path.path.CopyFrom(_text(text))
        case Claim(path, value):
            made.sourced_metadata.metadata_matcher.CopyFrom(_claim(path, value))
    return made


def _certificate(made: Principal, text: Text) -> None:
    """The URI names of a certificate that was verified: a gateway may take others, too, and they prove nothing."""
    san = SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=_text(text))
    made.custom.name = CERTIFICATE
    pack(made.custom.typed_config, Config(san_matcher=san))


def _cidr(text: str) -> CidrRange:
    block = ipaddress.ip_network(text)
    made = CidrRange(address_prefix=str(block.network_address))
    made.prefix_len.value = block.prefixlen
    return made


def _header(name: str, text: Text | None) -> HeaderMatcher:
    if text is None:
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=_text(text))


def _claim(path: tuple[str, ...], value: Text | bool | float | None) -> MetadataMatcher:
    made = MetadataMatcher(filter=JWT)
    for step in (PAYLOAD, *path):
        made.path.add().key = step
    if value is None:
        made.value.present_match = True
        return made
    for_list = ValueMatcher()
    for_list.list_match.one_of.CopyFrom(_scalar(value))
    made.value.or_match.value_matchers.extend((_scalar(value), for_list))
    return made


def _scalar(value: Text | bool | float) -> ValueMatcher:
    match value:
        case bool():
            return ValueMatcher(bool_match=value)
        case Text():
            return ValueMatcher(string_match=_text(value))
        case _:
            made = ValueMatcher()
            made.double_match.exact = value
            return made


def _text(text: Text) -> StringMatcher:
    made = StringMatcher()
    match text.how:
        case How.EXACT:
            made.exact = text.value
        case How.PREFIX:
            made.prefix = text.value
        case How.SUFFIX:
            made.suffix = text.value
        case How.CONTAINS:
            made.contains = text.value
        case How.REGEX:
            made.safe_regex.regex = text.value
            return made
    made.ignore_case = text.any_case
    return made
