"""While a mesh moves between trust domains, policies mean its workloads by either name, whichever of the two they say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.events import SourceSnapshot
from mesh.state import MeshState
from policies.access_verdict import Caller, verdict
from tests.support.access_cases import OTHER, TRUST_DOMAIN, document, port, state

FORMER, FOREIGN = "former.example", "foreign.example"
TARGET = "kind: Service, name: other, namespace: other"
ALLOWING = (
    "{service: web, namespace: default}",
    "{serviceAccount: web, namespace: default}",
    "{namespace: default}",
    "{anyMeshIdentity: true}",
    f"{{trustDomain: {TRUST_DOMAIN}}}",
    f"{{trustDomain: {FORMER}}}",
    f"{{trustDomain: {FORMER}, namespace: default}}",
    f'{{identity: "spiffe://{TRUST_DOMAIN}/ns/default/sa/web"}}',
    f'{{identity: "spiffe://{FORMER}/ns/default/sa/web"}}',
    f'{{identity: "spiffe://{FORMER}/ns/default/*"}}',
)
EXCLUDING = (
    f"{{notTrustDomains: [{TRUST_DOMAIN}]}}",
    f"{{notTrustDomains: [{FORMER}]}}",
    "{notNamespaces: [default]}",
    "{notServices: [default/web]}",
    "{notServiceAccounts: [default/web]}",
    f'{{notIdentities: ["spiffe://{FORMER}/ns/default/sa/web"]}}',
    f'{{notIdentities: ["spiffe://{TRUST_DOMAIN}/ns/default/sa/*"]}}',
)


def mesh(caller: str, *aliases: str, former: tuple[str, ...] = ()) -> MeshState:
    """Where `other` lets in `caller`, as a rule has it."""
    made = state(document("only", f"action: allow, rules: [{{from: [{caller}]}}]", TARGET))
    source = next(iter(made.sources.values()))
    declared = tuple(source.declared.values())
    event = SourceSnapshot(
        "file", tuple(source.services.values()), tuple(source.workloads.values()), declared
    )
    return replace(MeshState(TRUST_DOMAIN), aliases=aliases, former=former).apply(event)[0]


def allowed(of: MeshState, trust_domain: str) -> bool:
    caller = Caller(f"spiffe://{trust_domain}/ns/default/sa/web")
    return verdict(of, OTHER, port(of, OTHER), caller).allowed


@pytest.mark.parametrize("caller", ALLOWING)
def test_who_is_let_in_is_so_by_either_name(caller: str) -> None:
    moving = mesh(caller, FORMER)
    assert allowed(moving, TRUST_DOMAIN)
    assert allowed(moving, FORMER)
    assert not allowed(moving, FOREIGN)
    staying = mesh(caller)
    assert not (allowed(staying, TRUST_DOMAIN) and allowed(staying, FORMER))


@pytest.mark.parametrize("caller", EXCLUDING)
def test_who_is_kept_out_is_so_by_either_name(caller: str) -> None:
    moving = mesh(caller, FORMER)
    assert not allowed(moving, TRUST_DOMAIN)
    assert not allowed(moving, FORMER)
    assert allowed(moving, FOREIGN)


@pytest.mark.parametrize("caller", [each for each in ALLOWING if FORMER not in each])
def test_who_called_by_the_former_name_before_goes_on(caller: str) -> None:
    assert allowed(mesh(caller, former=(FORMER,)), FORMER)


@pytest.mark.parametrize("caller", [each for each in ALLOWING if FORMER in each])
def test_what_says_the_former_name_means_nobody_of_now(caller: str) -> None:
    assert not allowed(mesh(caller, former=(FORMER,)), TRUST_DOMAIN)


@pytest.mark.parametrize("caller", [each for each in EXCLUDING if FORMER not in each])
def test_who_was_kept_out_by_the_former_name_still_is(caller: str) -> None:
    assert not allowed(mesh(caller, former=(FORMER,)), FORMER)
