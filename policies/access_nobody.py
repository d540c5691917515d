"""Callers that an access policy names and nobody is: a name that is written wrong lets in nobody, or keeps out nobody, without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.state import MeshState


@dataclass(frozen=True, slots=True)
class Present:
    """Who can be a caller here: namespaces with a workload or a service, and service accounts of workloads, or of services as declared."""

    services: frozenset[Key]
    namespaces: frozenset[str]
    accounts: frozenset[Key]

    @classmethod
    def of(cls, state: MeshState) -> Self:
        services = frozenset(state.services)
        identities = (each for key in services for each in state.identities(key))
        accounts = {Key(key.namespace, each.service_account) for key, each in state.workloads.items()}
        accounts |= {Key(each.namespace, each.service_account) for each in identities}
        return cls(services, frozenset(key.namespace for key in (*services, *accounts)), frozenset(accounts))


def nobody(state: MeshState, present: Present, policy: Policy) -> Iterator[str]:
    """A sentence for each caller that `policy` names and that is nobody. Nothing is said of other trust domains: who is there is not known here."""
    said: dict[str, Any] = thawed(policy.fields)
    for number, rule in enumerate(said.get("rules") or ()):
        for place, caller in enumerate(rule.get("from") or ()):
            if caller.get("trustDomain", state.trust_domain) != state.trust_domain:
                continue
            missing = _missing(caller, policy.key.namespace, present)
            if missing is not None:
                yield f"rules[{number}].from[{place}] applies to nobody: {missing} (yet)"


def _missing(caller: Mapping[str, Any], own: str, present: Present) -> str | None:
    namespace = caller.get("namespace")
    if namespace is not None and namespace not in present.namespaces:
        return f"nothing is in the namespace {namespace}"
    within = namespace or own
    service, account = caller.get("service"), caller.get("serviceAccount")
    if service is not None and Key(within, service) not in present.services:
        return f"there is no service {within}/{service}"
    if account is not None and Key(within, account) not in present.accounts:
        return f"no workload has the service account {within}/{account}"
    return None
