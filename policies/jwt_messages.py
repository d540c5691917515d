"""JSON Web Tokens in Envoy's messages: who issues them, where they are looked for, and which requests need one.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/filters/http/jwt_authn/v3/config.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from envoy.packing import pack, type_url
from envoy.seams import FilterOrder, HttpFilter, serialised
from pb.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    RequirementRule,
)
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from policies.fields import set_duration
from policies.requests import Conditions

FILTER: Final = "envoy.filters.http.jwt_authn"
"""Also the namespace of the dynamic metadata that holds what a valid token claims."""
PAYLOAD: Final = "payload"
"""The key there: the claims of the token, as they are. AccessPolicy goes by it."""
NOBODY: Final = "nobody"
"""A provider whose tokens nobody can make, for requests that need a token while no issuer is trusted."""
NOBODYS_KEY: Final = (
    '{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "nobody", '
    '"x": "NSHJVDhdZSzwGXgwTjiqlZIEIHBYdsJ6KfRNBVGsasI", "y": "XX0Y5X9s6WIZJXcysZM2tr1MFlpIkCVQDAJ-jKMYQTg"}]}'
)
"""A point of the curve whose x is the SHA-256 of "meshwright: nobody 1": nobody knows the private key. Envoy takes no empty set."""
FETCH_RETRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Fetched:
    """A JWKS by URI, through `cluster`. Times are durations of documents."""

    uri: str
    cluster: str
    timeout: str
    cache: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token may be: in a header, behind `prefix`; in a parameter of the query; or in a cookie. Two of the names are empty."""

    header: str = ""
    prefix: str = ""
    query: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """`jwks` is the text of a set of keys, or where it is. `claims` are pairs of a claim and the header that gets it. `clock_skew` is in
    seconds, `lifetime` a duration or empty.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    jwks: str | Fetched
    places: tuple[Place, ...]
    claims: tuple[tuple[str, str], ...]
    payload_header: str
    forward: bool
    clock_skew: int
    expiring: bool
    lifetime: str


@dataclass(frozen=True, slots=True)
class Need:
    """Which of the issuers (by name; none: of nobody) a request needs a token of. `missing`: it may have none; `invalid`: or a bad one."""

    issuers: tuple[str, ...]
    missing: bool = False
    invalid: bool = False


Rule = tuple[Conditions, Need | None]
"""Requests that meet all conditions need this; None: nothing, and tokens are not looked at."""


def authentication(issuers: Sequence[Issuer], rules: Iterable[Rule], otherwise: Need | None) -> HttpFilter:
    """The filter. The first of `rules` that a request meets counts, and `otherwise` where it meets none."""
    made = JwtAuthentication(stat_prefix="request_authentication")
    for issuer in issuers:
        _provider(made.providers[issuer.name], issuer)
    nobody = False
    for conditions, need in (*rules, ((), otherwise)):
        rule = made.rules.add()
        _match(rule, conditions)
        if need is not None:
            _requires(rule.requires, need)
            nobody = nobody or not need.issuers
    if nobody:
        _nobody(made.providers[NOBODY])
    return HttpFilter(FilterOrder.AUTHENTICATION, FILTER, type_url(JwtAuthentication), serialised(made))


def without_headers(names: Iterable[str]) -> bytes:
    """A part, HttpConnectionManager: what clients say in these headers is dropped before anything looks at it, so that they only ever
    say what a token claims.
    """
    manager, mutations = HttpConnectionManager(), HeaderMutation()
    for name in dict.fromkeys(names):
        mutations.mutations.add().remove = name
    if not mutations.mutations:
        return b""
    extension = manager.early_header_mutation_extensions.add()
    extension.name = "envoy.http.early_header_mutation.header_mutation"
    pack(extension.typed_config, mutations)
    return serialised(manager)


def _provider(made: JwtProvider, issuer: Issuer) -> None:
    made.issuer = issuer.issuer
    made.audiences.extend(issuer.audiences)
    if isinstance(issuer.jwks, Fetched):
        remote = made.remote_jwks
        remote.http_uri.uri, remote.http_uri.cluster = issuer.jwks.uri, issuer.jwks.cluster
        set_duration(remote.http_uri.timeout, issuer.jwks.timeout)
        set_duration(remote.cache_duration, issuer.jwks.cache)
        # Fetched at once, and again before the keys are too old: a request waits for them only while there are none. The listener does
        # not: while it waited, what was there before would let in everybody, though the proxy has acknowledged the policy.
        remote.async_fetch.fast_listener = True
        remote.retry_policy.num_retries.value = FETCH_RETRIES
    else:
        made.local_jwks.inline_string = issuer.jwks
    for place in issuer.places:
        if place.header:
            made.from_headers.add(name=place.header, value_prefix=place.prefix)
        elif place.query:
            made.from_params.append(place.query)
        else:
            made.from_cookies.append(place.cookie)
    made.forward = issuer.forward
    made.payload_in_metadata = PAYLOAD
    made.forward_payload_header = issuer.payload_header
    for claim, header in issuer.claims:
        made.claim_to_headers.add(claim_name=claim, header_name=header)
    made.clock_skew_seconds = issuer.clock_skew
    made.require_expiration = issuer.expiring
    if issuer.lifetime:
        set_duration(made.max_lifetime, issuer.lifetime)


def _nobody(made: JwtProvider) -> None:
    made.issuer = "urn:meshwright:nobody"
    made.local_jwks.inline_string = NOBODYS_KEY
    made.from_headers.add(name="authorization", value_prefix="Bearer ")


def _match(rule: RequirementRule, conditions: Conditions) -> None:
    rule.match.prefix = ""  # whatever the path: `:path` is among the conditions
    rule.match.headers.extend(conditions)


def _requires(made: JwtRequirement, need: Need) -> None:
    names = need.issuers or (NOBODY,)
    if len(names) == 1 and not need.missing:
        made.provider_name = names[0]
        return
    for name in names:
        made.requires_any.requirements.add().provider_name = name
    if need.missing:
        last = made.requires_any.requirements.add()
        (last.allow_missing_or_failed if need.invalid else last.allow_missing).SetInParent()
