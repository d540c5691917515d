"""The revision of a document: what it says, as documents are read."""

from __future__ import annotations

from meshwright.revisions import revision_of
from tests.support.policy_documents import declared

RETRY = """
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: api}
spec: {targetRefs: [{kind: Service, name: api}], attempts: 3, on: [5xx]}
"""


def test_a_field_named_as_a_truth_value_of_old_yaml_is_a_field() -> None:
    (first,) = declared(RETRY)
    (again,) = declared(RETRY.replace("attempts: 3, on: [5xx]", "on: [5xx],   attempts: 3"))
    (other,) = declared(RETRY.replace("5xx", "reset"))
    assert revision_of(first) == revision_of(again) != revision_of(other)
