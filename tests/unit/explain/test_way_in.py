"""The way out of a 403 is one that can be gone: rules are added to policies that have rules."""

from __future__ import annotations

import pytest

from explain.explaining import explain
from explain.question import Question
from explain.world import World
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from tests.support.builders import TRUST_DOMAIN, a_proxy, a_service
from tests.support.policy_documents import declared

POLICY = "apiVersion: meshwright.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {}}}\nspec: {{targetRefs: {}, {}}}\n"
ALL = POLICY.format("all", "[{kind: Mesh}]", "default: deny")
STORE = POLICY.format(
    "store", "[{kind: Service, name: store}]", "action: allow, rules: [{from: [{service: api}]}]"
)


@pytest.mark.parametrize(
    ("documents", "remedy"),
    [
        (ALL, "Write an AccessPolicy with action: allow for service default/store"),
        (STORE, "Add a rule that allows it to AccessPolicy default/store"),
        (f"{ALL}---\n{STORE}", "Add a rule that allows it to AccessPolicy default/store"),
    ],
    ids=["default deny", "a policy that allows", "both"],
)
def test_the_way_in(documents: str, remedy: str) -> None:
    services = (a_service("web"), a_service("store"))
    workloads = (a_proxy("web-1", uses=["store"]), a_proxy("store-1", uses=()))
    state, _ = MeshState(TRUST_DOMAIN).apply(
        SourceSnapshot("files", services, workloads, declared(documents))
    )
    found = explain(World.of(state), Question(caller="default/web-1", to="store"))
    ((_, outcome),) = found.outcomes()
    assert outcome.status == 403
    assert outcome.remedy == remedy
