"""JSON Web Tokens: whether the request has one that it needs. That its signature holds is taken for granted.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/filters/http/jwt_authn/v3/config.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from google.protobuf.any_pb2 import Any

from explain import route_table
from explain.local_replies import answered
from explain.request import Claims, Request
from explain.sight import Passing, Sight, listed
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    RequirementRule,
)

KIND = "RequestAuthentication"


@dataclass(frozen=True, slots=True)
class Checked:
    """`provider` verified the token, if any did. `failure`: the status and why, where the requirement is not met; `near`: how far it came."""

    provider: str = ""
    failure: tuple[int, str] | None = None
    near: int = 0


def tokens(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    del own, route
    config = JwtAuthentication.FromString(standing.value)
    rule = next((each for each in config.rules if _meant(each, request)), None)
    sources = sight.said(KIND)
    if rule is None or not rule.HasField("requires"):
        step = sight.step("token", "none is asked for, and none is looked at", (), sources)
        return Passing(request, (step,))
    checked = _checked(rule.requires, config.providers, request.token)
    if checked.failure is not None:
        status, why = checked.failure
        trusted = listed(tuple(sorted(each.issuer for each in config.providers.values())))
        remedy = (
            f"Send a token of {trusted}, or change {listed(tuple(each.document for each in sources)) or KIND}"
        )
        step = sight.step("token", f"{status}: {why}", (), sources)
        return Passing(request, (step,), ((Fraction(1), answered(request, status, why, remedy)),))
    if not checked.provider:
        return Passing(request, (sight.step("token", "it has none, and needs none", (), sources),))
    provider = config.providers[checked.provider]
    verified = replace(request, claims=request.token)
    for each in provider.claim_to_headers:
        value = (request.token or {}).get(each.claim_name)
        if value is not None:
            verified = verified.with_header(each.header_name, _text(value))
    if not provider.forward:
        verified = replace(verified, token=None)
    step = sight.step("token", f"verified: issued by {provider.issuer}", (), sources)
    caution = f"the token of the request is verified by {sight.whose}: that its signature and its time hold is taken for granted"
    return Passing(verified, (step,), cautions=(caution,))


def _meant(rule: RequirementRule, request: Request) -> bool:
    return not route_table.mismatch(rule.match, request)


def _checked(wanted: JwtRequirement, providers: Mapping[str, JwtProvider], token: Claims | None) -> Checked:
    match wanted.WhichOneof("requires_type"):
        case "provider_name":
            return _by(wanted.provider_name, providers, token)
        case "requires_any":
            tries = [_checked(each, providers, token) for each in wanted.requires_any.requirements]
            met = next((each for each in tries if each.failure is None), None)
            return met or _worst(tries)
        case "requires_all":
            tries = [_checked(each, providers, token) for each in wanted.requires_all.requirements]
            return next((each for each in tries if each.failure is not None), tries[0])
        case "allow_missing":
            if token is None:
                return Checked()
            # As in Envoy, a token that is there has to be one of some provider.
            tries = [_by(each, providers, token) for each in sorted(providers)]
            return next((each for each in tries if each.failure is None), _worst(tries))
        case _:  # allow_missing_or_failed
            tries = [_by(each, providers, token) for each in sorted(providers)]
            return next((each for each in tries if each.failure is None), Checked())


def _worst(tries: list[Checked]) -> Checked:
    """Of several issuers, the one of whom the token is knows more of what is wrong with it; that there is none at all counts least."""
    return max(tries, key=lambda each: each.near, default=Checked(failure=(401, MISSING)))


MISSING = "it has no token, and needs one"


def _by(name: str, providers: Mapping[str, JwtProvider], token: Claims | None) -> Checked:
    provider = providers.get(name)
    if token is None or provider is None:
        return Checked(failure=(401, MISSING))
    issuer = token.get("iss")
    if issuer is not None and provider.issuer and issuer != provider.issuer:
        return Checked(failure=(401, f"its token is of {issuer}, which nobody trusts here"), near=1)
    if provider.audiences and not _meant_for(token.get("aud"), provider):
        return Checked(failure=(403, f"its token is not for {listed(tuple(provider.audiences))}"), near=2)
    return Checked(name)


def _meant_for(audience: object, provider: JwtProvider) -> bool:
    said = audience if isinstance(audience, list) else [audience]
    return any(_bare(str(each)) in {_bare(wanted) for wanted in provider.audiences} for each in said)


def _bare(audience: str) -> str:
    """Envoy compares audiences without their scheme and the slash at their end."""
    return audience.removeprefix("https://").removeprefix("http://").removesuffix("/")


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
