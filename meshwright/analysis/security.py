"""Checks of what is open that perhaps should not be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mesh.gateways import Gateway, ListenerProtocol
from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.targeting import Level, TargetRef
from meshwright.analysis.finding import Check, Example, Found, Severity
from meshwright.analysis.policies import policy as _policy
from meshwright.analysis.policies import several as _several
from meshwright.analysis.sight import Sight
from policies.access_nobody import Present, nobody


def _said(policy: Policy) -> dict[str, Any]:
    return thawed(policy.fields)


def _name(policy: Policy) -> str:
    return f"{policy.kind} {policy.key}"


def _targets(policy: Policy) -> str:
    return ", ".join(map(str, policy.targets))


def _modes(policy: Policy) -> Iterator[tuple[str, str]]:
    """Where it sets which mode of TLS."""
    said = _said(policy)
    if "mode" in said:
        yield _targets(policy), str(said["mode"])
    for each in said.get("ports") or ():
        yield f"port {each['port']} of {_targets(policy)}", str(each["mode"])


def tls_off(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("MeshTLS"):
        for where, mode in _modes(policy):
            if mode == "off":
                yield Found(
                    _name(policy),
                    f"calls to {where} are plaintext, and nothing is known of callers",
                    policy.origin,
                )


def tls_permissive(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("MeshTLS"):
        for where, mode in _modes(policy):
            if mode == "permissive":
                yield Found(_name(policy), f"plaintext is taken at {where}, too", policy.origin)


def old_tls(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("MeshTLS"):
        if _said(policy).get("minimumVersion") == "1.2":
            yield Found(_name(policy), f"TLS 1.2 is taken at {_targets(policy)}", policy.origin)


def lets_in_everyone(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("AccessPolicy"):
        said = _said(policy)
        if said.get("action", "allow") != "allow" or said.get("dryRun"):
            continue
        for number, rule in enumerate(said.get("rules") or ()):
            if not rule.get("from") and not rule.get("when"):
                yield Found(
                    _name(policy),
                    f"rules[{number}] lets in everyone, also who has no identity",
                    policy.origin,
                )


def nothing_asked(sight: Sight) -> Iterator[Found]:
    """Services that whoever reaches them may call."""
    allowing = {
        target
        for policy in sight.policies("AccessPolicy")
        for target in policy.targets
        if not _said(policy).get("dryRun")
        and ("default" in _said(policy) or _said(policy).get("action", "allow") == "allow")
    }
    if TargetRef.mesh() in allowing:
        return
    for service in sight.services():
        members = sight.members(service.key)
        covered = {TargetRef.of_namespace(service.key.namespace), TargetRef.service(service.key)}
        if (
            members
            and not covered & allowing
            and not all(TargetRef.workload(each.key) in allowing for each in members)
        ):
            yield Found(
                f"Service {service.key}",
                "no AccessPolicy says who may call it: everyone in the mesh may",
                service.origin,
            )


def on_trial(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("AccessPolicy"):
        if _said(policy).get("dryRun"):
            yield Found(
                _name(policy), f"it is on trial at {_targets(policy)}: it refuses nobody", policy.origin
            )


def outside_in_clear(sight: Sight) -> Iterator[Found]:
    for key, service in sorted(sight.state.services.items()):
        outside = service.external
        if outside is None or outside.tls is not None:
            continue
        ports = [str(port.port) for port in service.ports if port.protocol.is_http]
        if ports:
            yield Found(
                f"ExternalService {key}",
                f"calls to {', '.join(outside.hosts)} leave as HTTP in clear (port {', '.join(ports)})",
                service.origin,
            )


def tokens_optional(sight: Sight) -> Iterator[Found]:
    claims = [
        policy
        for policy in sight.policies("AccessPolicy")
        if any(
            "claim" in when for rule in _said(policy).get("rules") or () for when in rule.get("when") or ()
        )
    ]
    for policy in sight.policies("RequestAuthentication"):
        said = _said(policy)
        if said.get("mode") == "optional" and not any(
            set(each.targets) & set(policy.targets) for each in claims
        ):
            yield Found(
                _name(policy),
                f"tokens are optional at {_targets(policy)}, and no AccessPolicy there asks for a claim: requests without one pass",
                policy.origin,
            )


def tokens_invalid(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("RequestAuthentication"):
        if _said(policy).get("allowInvalid"):
            yield Found(
                _name(policy), "requests with an invalid token pass as if they had none", policy.origin
            )


def authorizer_open(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("ExternalAuthorization"):
        if _said(policy).get("failure") == "allow":
            yield Found(
                _name(policy),
                f"while the authorizer is away, requests to {_targets(policy)} pass unasked",
                policy.origin,
            )


def gateway_in_clear(sight: Sight) -> Iterator[Found]:
    for (kind, key), value in sorted(sight.state.declared.items(), key=lambda item: item[0]):
        if not isinstance(value, Gateway):
            continue
        if any(each.protocol in {ListenerProtocol.HTTPS, ListenerProtocol.TLS} for each in value.listeners):
            continue
        for listener in value.listeners:
            if listener.protocol is ListenerProtocol.HTTP:
                yield Found(
                    f"{kind} {key}",
                    f"listener {listener.name!r} takes HTTP in clear, and none of the gateway's takes HTTPS",
                    value.origin,
                )


def not_federated(sight: Sight) -> Iterator[Found]:
    known = {sight.state.trust_domain, *sight.state.aliases, *sight.state.federated}
    for policy in sight.policies("AccessPolicy"):
        for rule in _said(policy).get("rules") or ():
            for caller in rule.get("from") or ():
                domain = (
                    caller.get("trustDomain")
                    or str(caller.get("identity") or "").removeprefix("spiffe://").partition("/")[0]
                )
                if domain and "*" not in domain and domain not in known:
                    yield Found(
                        _name(policy),
                        f"it names callers of the trust domain {domain}, which is neither ours nor federated: they cannot connect",
                        policy.origin,
                    )


def callers_nobody_is(sight: Sight) -> Iterator[Found]:
    present = Present.of(sight.state)
    for policy in sight.policies("AccessPolicy"):
        for said in nobody(sight.state, present, policy):
            yield Found(_name(policy), said, policy.origin)


def egress_open(sight: Sight) -> Iterator[Found]:
    for policy in sight.policies("EgressPolicy"):
        if _said(policy).get("unknown") == "allow":
            yield Found(_name(policy), f"{_targets(policy)} may call any host outside", policy.origin)


def denies_everyone(sight: Sight) -> Iterator[Found]:
    closed = {
        target
        for policy in sight.policies("AccessPolicy")
        if _said(policy).get("default") == "deny"
        for target in policy.targets
    }
    for policy in sight.policies("AccessPolicy"):
        said = _said(policy)
        if said.get("action") == "deny" and any(
            not (set(rule) - {"name"}) for rule in said.get("rules") or ()
        ):
            yield Found(
                _name(policy),
                f"a rule without conditions refuses everyone at {_targets(policy)}",
                policy.origin,
            )
    allowing = {
        target
        for policy in sight.policies("AccessPolicy")
        if _said(policy).get("rules")
        for target in policy.targets
    }
    for target in sorted(closed):
        if target.level is not Level.SERVICE or target in allowing:
            continue
        key = Key(target.namespace, target.name)
        if not any(TargetRef.workload(each.key) in allowing for each in sight.members(key)):
            yield Found(
                f"Service {key}", "its default is to refuse, and no AccessPolicy of it lets anybody in"
            )


ISSUER: Final = "issuers: [{issuer: 'https://issuer.example', jwks: {uri: 'https://issuer.example/keys'}}]"
WHO: Final = _policy("AccessPolicy", "api", "action: allow, rules: [{from: [{service: web}]}]")
AUTHORIZER: Final = "protocol: http, service: {name: store, port: 80}"
LISTENERS: Final = """apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: meshwright
  listeners: [%s]
---
kind: Workload
metadata: {name: edge-1}
spec: {gateway: edge, serviceAccount: edge, address: 10.0.8.1, meshed: true}
"""
OUTSIDE: Final = "kind: ExternalService\nmetadata: {name: pay}\nspec: {hosts: [pay.example.com], ports: [{name: http, port: 80, protocol: http}]}\n"
CLEAR: Final = "{name: http, port: 8080, protocol: HTTP}"
TLS: Final = "{name: https, port: 8443, protocol: TLS, hostname: a.example.com, tls: {mode: Passthrough}}"

CHECKS: Final = (
    Check(
        "MW0401",
        "Mutual TLS is off",
        Severity.WARNING,
        "Whoever reaches the network reads and forges these calls, and access policies know no caller.",
        "Use permissive while callers get their sidecars (`meshwright plaintext` names them), then strict.",
        tls_off,
        Example(_policy("MeshTLS", "api", "mode: 'off'")),
        Example(_policy("MeshTLS", "api", "mode: strict")),
    ),
    Check(
        "MW0402",
        "Mutual TLS is permissive",
        Severity.INFO,
        "Callers without a sidecar are let in, and nothing is known of them.",
        "When `meshwright plaintext` shows nobody any more, make it strict.",
        tls_permissive,
        Example(_policy("MeshTLS", "api", "mode: permissive")),
        Example(_policy("MeshTLS", "api", "mode: strict")),
    ),
    Check(
        "MW0403",
        "TLS 1.2 is taken",
        Severity.INFO,
        "Sidecars speak 1.3 among themselves; 1.2 is for callers that bring a certificate and no sidecar.",
        "Leave `minimumVersion` out if there is none.",
        old_tls,
        Example(_policy("MeshTLS", "api", "mode: strict, minimumVersion: '1.2'")),
        Example(_policy("MeshTLS", "api", "mode: strict")),
    ),
    Check(
        "MW0404",
        "An access policy that lets in everyone",
        Severity.WARNING,
        "A rule without `from` holds for every caller, also one without an identity where plaintext is taken.",
        "Say `from`; for everybody in the mesh, `anyMeshIdentity: true`.",
        lets_in_everyone,
        Example(_policy("AccessPolicy", "api", "action: allow, rules: [{to: [{methods: [GET]}]}]")),
        Example(
            _policy(
                "AccessPolicy",
                "api",
                "action: allow, rules: [{from: [{anyMeshIdentity: true}], to: [{methods: [GET]}]}]",
            )
        ),
    ),
    Check(
        "MW0405",
        "Services that everyone in the mesh may call",
        Severity.INFO,
        "No access policy says who may, nor is there a default.",
        "Write an AccessPolicy with `default: deny` for the mesh, and allow what is needed; `dryRun: true` shows what that would refuse.",
        nothing_asked,
        Example(WHO),
        Example(_several(_policy("AccessPolicy", "all", "default: deny", "{kind: Mesh}"), WHO)),
    ),
    Check(
        "MW0406",
        "An access policy on trial",
        Severity.INFO,
        "It refuses nobody; what it would refuse is counted.",
        "Look at its counts, then take `dryRun` out.",
        on_trial,
        Example(
            _policy("AccessPolicy", "api", "action: allow, dryRun: true, rules: [{from: [{service: web}]}]")
        ),
        Example(WHO),
    ),
    Check(
        "MW0407",
        "Calls leave the mesh in clear",
        Severity.WARNING,
        "What is sent can be read and changed on the way; mesh TLS ends where the mesh does.",
        "Say `tls` of the ExternalService: the sidecar speaks TLS on behalf of the application.",
        outside_in_clear,
        Example(OUTSIDE),
        Example(OUTSIDE.replace("hosts", "tls: {}, hosts")),
    ),
    Check(
        "MW0408",
        "Everyone is refused",
        Severity.WARNING,
        "The default is to refuse, or a rule denies without a condition, and nobody is let in.",
        "Allow somebody, or give the rule conditions.",
        denies_everyone,
        Example(_policy("AccessPolicy", "api", "default: deny")),
        Example(
            _several(
                _policy("AccessPolicy", "api", "default: deny"), WHO.replace("name: api}", "name: who}", 1)
            )
        ),
    ),
    Check(
        "MW0409",
        "Tokens are optional and nobody asks for one",
        Severity.WARNING,
        "A request without a token passes; only a wrong one is refused.",
        "Say `mode: required`, or ask for a claim in an AccessPolicy.",
        tokens_optional,
        Example(_policy("RequestAuthentication", "tokens", f"{ISSUER}, mode: optional")),
        Example(_policy("RequestAuthentication", "tokens", f"{ISSUER}, mode: required")),
    ),
    Check(
        "MW0410",
        "Requests with an invalid token pass",
        Severity.WARNING,
        "An expired or forged token is no obstacle.",
        "Take `allowInvalid` out when the migration that it was for is over.",
        tokens_invalid,
        Example(_policy("RequestAuthentication", "tokens", f"{ISSUER}, mode: optional, allowInvalid: true")),
        Example(_policy("RequestAuthentication", "tokens", f"{ISSUER}, mode: required")),
    ),
    Check(
        "MW0411",
        "External authorization that fails open",
        Severity.WARNING,
        "Whoever can take the authorizer down is let in.",
        "Say `failure: deny`, and run several authorizers.",
        authorizer_open,
        Example(_policy("ExternalAuthorization", "ask", f"{AUTHORIZER}, failure: allow")),
        Example(_policy("ExternalAuthorization", "ask", AUTHORIZER)),
    ),
    Check(
        "MW0412",
        "A gateway that speaks HTTP in clear",
        Severity.INFO,
        "What clients send, passwords and tokens too, can be read on the way.",
        "Add a listener of HTTPS, unless something in front of the gateway ends TLS.",
        gateway_in_clear,
        Example(LISTENERS % CLEAR),
        Example(LISTENERS % f"{CLEAR}, {TLS}"),
    ),
    Check(
        "MW0413",
        "Callers of a trust domain that is not known",
        Severity.WARNING,
        "Their certificates are refused before any policy is asked.",
        "Federate the trust domain (`federation`), or correct its name.",
        not_federated,
        Example(
            _policy("AccessPolicy", "api", "action: allow, rules: [{from: [{trustDomain: other.example}]}]")
        ),
        Example(
            _policy("AccessPolicy", "api", "action: allow, rules: [{from: [{trustDomain: mesh.local}]}]")
        ),
    ),
    Check(
        "MW0414",
        "Any host outside may be called",
        Severity.INFO,
        "Data can leave by any name that resolves.",
        "Declare what is needed as ExternalService, and say `unknown: registryOnly`.",
        egress_open,
        Example(_policy("EgressPolicy", "out", "unknown: allow", "{kind: Mesh}")),
        Example(_policy("EgressPolicy", "out", "unknown: registryOnly", "{kind: Mesh}")),
    ),
    Check(
        "MW0415",
        "A caller that nobody is",
        Severity.WARNING,
        "An `allow` that names a service, a service account or a namespace wrong lets in nobody, and a `deny` keeps out nobody.",
        "Correct the name; without `namespace`, services and service accounts are of the policy's own.",
        callers_nobody_is,
        Example(_policy("AccessPolicy", "api", "action: allow, rules: [{from: [{serviceAccount: webb}]}]")),
        Example(_policy("AccessPolicy", "api", "action: allow, rules: [{from: [{serviceAccount: web}]}]")),
    ),
)
