"""Callers that an access policy names, and that nobody is."""

from __future__ import annotations

import pytest

from mesh.events import SourceSnapshot
from mesh.names import Key
from policies.access_nobody import Present, nobody
from tests.support.builders import a_service, a_state, a_workload
from tests.support.policy_documents import declared


@pytest.mark.parametrize(
    ("caller", "said"),
    [
        ("{serviceAccount: web}", None),
        ("{serviceAccount: webb}", "no workload has the service account default/webb"),
        ("{serviceAccount: web, namespace: default}", None),
        ("{serviceAccount: web, namespace: shopp}", "nothing is in the namespace shopp"),
        ("{namespace: default}", None),
        ("{namespace: shopp}", "nothing is in the namespace shopp"),
        ("{service: web}", None),
        ("{service: webb}", "there is no service default/webb"),
        ("{serviceAccount: webb, trustDomain: other.example}", None),
        ("{anyMeshIdentity: true}", None),
    ],
)
def test_who_is_nobody(caller: str, said: str | None) -> None:
    text = (
        "apiVersion: meshwright.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\n"
        f"spec: {{targetRefs: [{{kind: Namespace}}], action: allow, rules: [{{}}, {{from: [{caller}]}}]}}\n"
    )
    workloads = (a_workload("web-1", services=["web"], service_account="web"),)
    state, _ = a_state().apply(SourceSnapshot("s", (a_service("web"),), workloads, declared(text)))
    policy = state.policies.policies["AccessPolicy", Key("default", "a")]
    wanted = [] if said is None else [f"rules[1].from[0] applies to nobody: {said} (yet)"]
    assert list(nobody(state, Present.of(state), policy)) == wanted
