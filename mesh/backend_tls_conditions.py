"""The status of BackendTLSPolicies: which of them holds, and whether whom it trusts is known.

Types and reasons: BackendTLSPolicySpec and PolicyConditionReason of https://gateway-api.sigs.k8s.io/reference/spec/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh.backend_tls import holder, kind_of
from mesh.gateway_references import Role, known
from mesh.gateway_secrets import Loaded, absent
from mesh.gateways import BackendTlsPolicy, ObjectRef, TlsTarget
from mesh.names import Key
from mesh.state import MeshState


@dataclass(frozen=True, slots=True)
class PolicyCondition:
    """A condition of a policy at one of its targets, `<kind> <namespace>/<name>`, behind `#` the name of a port."""

    target: str
    type: str
    status: bool
    reason: str
    message: str


def backend_tls_policies(state: MeshState) -> Iterator[BackendTlsPolicy]:
    """All of them, by key."""
    found = (value for value in state.declared.values() if isinstance(value, BackendTlsPolicy))
    yield from sorted(found, key=lambda policy: policy.key)


def backend_tls_conditions(
    state: MeshState, policy: BackendTlsPolicy, loaded: Loaded, problem: Callable[[Key], str]
) -> Iterator[PolicyCondition]:
    """Accepted and ResolvedRefs, at each target. `problem` says what is wrong with the files of a Secret; empty: nothing."""
    references = policy.authorities or ()
    found = tuple((each, *_wrong(state, each, loaded, problem)) for each in references)
    invalid = bool(references) and all(why for _, _, why in found)
    trusted = any(known(Role.AUTHORITY, each) and each.key in loaded.authorities for each in references)
    wrong = "; ".join(why for _, _, why in found if why)
    for target in policy.targets:
        at = f"{target.kind} {target.key}{f'#{target.section}' if target.section else ''}"
        refused = _refused(state, policy, target)
        if not refused and invalid:
            left = (
                "who was trusted before still is"
                if trusted
                else "nobody is trusted, so no connection is made"
            )
            refused = f"NoValidCACertificate: {left}"
        reason, _, message = (refused or "Accepted: it holds").partition(": ")
        yield PolicyCondition(at, "Accepted", not refused, reason, message)
        yield PolicyCondition(
            at,
            "ResolvedRefs",
            not wrong,
            next((reason for _, reason, why in found if why), "ResolvedRefs"),
            wrong or "all references hold",
        )


def _refused(state: MeshState, policy: BackendTlsPolicy, target: TlsTarget) -> str:
    """Why `policy` does not hold for `target`, with its reason in front; empty if it does."""
    service = state.services.get(target.key)
    if service is None or kind_of(service) is not target.kind:
        return f"TargetNotFound: there is no {target.kind} {target.key}"
    if target.section is not None and service.port_named(target.section) is None:
        ports = ", ".join(each.name for each in service.ports)
        return f"TargetNotFound: {target.kind} {target.key} has no port {target.section}, but {ports}"
    held = holder(state, target)
    if held is not None and held.key != policy.key:
        return f"Conflicted: BackendTLSPolicy {held.key} holds for it already: it is the older, or the first by name"
    return ""


def _wrong(
    state: MeshState, reference: ObjectRef, loaded: Loaded, problem: Callable[[Key], str]
) -> tuple[str, str]:
    """What is wrong with one that holds authorities, behind its reason; empty if nothing is."""
    if not known(Role.AUTHORITY, reference):
        return "InvalidKind", f"{reference} is no {' or '.join(Role.AUTHORITY.kinds)}"
    if why := problem(reference.key):
        return "InvalidCACertificateRef", f"{reference}: {why}"
    if reference.key in loaded.authorities:
        return "InvalidCACertificateRef", ""
    why = absent(state, reference) or f"{reference} has no authoritiesFile"
    return "InvalidCACertificateRef", why
