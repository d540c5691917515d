"""What a policy of each kind may target is decided in one place."""

from __future__ import annotations

import re

import pytest

from documents.parsing import parse
from mesh.targeting import Level
from meshwright.reference_doc import example
from policies.kind import PolicyKind
from policies.registry import KINDS, POLICIES

TARGETS = {
    Level.MESH: "{kind: Mesh}",
    Level.NAMESPACE: "{kind: Namespace}",
    Level.SERVICE: "{kind: Service, name: api}",
    Level.WORKLOAD: "{kind: Workload, name: api-1}",
    Level.ROUTE: "{kind: HTTPRoute, name: api}",
}


def refused(kind: PolicyKind, level: Level) -> list[str]:
    """What is said of the target, were the example of `kind` for it."""
    text = next(each for each in example(kind.as_document()).split("---\n") if f"kind: {kind.name}\n" in each)
    text, found = re.subn(r"targetRefs: \[.*?\]", f"targetRefs: [{TARGETS[level]}]", text, count=1)
    assert found, text
    errors = parse("p.yaml", text.encode(), KINDS).errors
    return [each.reason for each in errors if each.where.path == "spec.targetRefs[0].kind"]


@pytest.mark.parametrize("kind", POLICIES, ids=lambda kind: kind.name)
def test_what_a_kind_does_not_take_as_target_is_refused_and_nothing_else(kind: PolicyKind) -> None:
    assert {level for level in TARGETS if refused(kind, level)} == set(TARGETS) - kind.levels


def test_it_is_said_who_enforces_it_and_what_can_be_targeted() -> None:
    text = (
        "apiVersion: meshwright.dev/v1alpha1\nkind: RetryPolicy\nmetadata: {name: p}\n"
        "spec: {targetRefs: [{kind: Workload, name: api-1}], attempts: 1}\n"
    )
    (error,) = parse("p.yaml", text.encode(), KINDS).errors
    assert str(error).endswith(
        "spec.targetRefs[0].kind: RetryPolicy is enforced by the caller, and cannot be for a Workload. "
        "Target Mesh or Namespace or Service or Route"
    )
