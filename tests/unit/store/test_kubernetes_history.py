"""Revisions of documents beside them: which are to be made, and which are too many."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from kube.resource import ObjectName
from mesh.names import Key
from store.kubernetes_history import Kept, kept, missing, revision, surplus
from store.kubernetes_objects import ClusterObject
from store.kubernetes_objects import kept as kept_object

RETRY = """
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata:
  name: api
  namespace: shop
  uid: 0123456789ab
  generation: 2
  resourceVersion: "7"
  creationTimestamp: "2026-01-31T12:00:00Z"
  labels: {team: sales}
  managedFields:
  - {manager: kubectl, time: "2026-01-31T12:00:00Z"}
  - {manager: argocd, time: "2026-01-31T12:05:00Z"}
  - {manager: meshwright, time: "2026-01-31T12:06:00Z", subresource: status}
spec: {targetRefs: [{kind: Service, name: api}], attempts: 3}
"""


def an_object(**metadata: Any) -> ClusterObject:
    read = yaml.safe_load(RETRY)
    read["metadata"] |= metadata
    return kept_object(read)


def test_a_revision_is_what_the_document_says_and_who_wrote_it() -> None:
    made = revision(an_object())
    assert made["metadata"]["name"] == "retrypolicies-api-01234567-2"
    assert made["metadata"]["annotations"] == {"meshwright.dev/written-by": "argocd"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "0123456789ab"
    assert made["revision"] == 2
    assert made["data"] == {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": "RetryPolicy",
        "metadata": {"name": "api", "namespace": "shop", "labels": {"team": "sales"}},
        "spec": {"targetRefs": [{"kind": "Service", "name": "api"}], "attempts": 3},
    }


def test_what_is_read_again_is_what_was_made() -> None:
    assert kept(revision(an_object())) == Kept(("RetryPolicy", Key("shop", "api")), "0123456789ab", 2)
    assert kept({"metadata": {"name": "web-1", "namespace": "shop"}, "revision": 1}) is None


@pytest.mark.parametrize(
    "data",
    [
        {"apiVersion": 7, "kind": "RetryPolicy", "metadata": [1], "spec": "x"},
        {"kind": ["RetryPolicy"], "metadata": {"name": "api"}},
        {"kind": "RetryPolicy", "metadata": {"name": 5}},
        [],
        "x",
    ],
)
def test_what_anybody_forges_is_none_of_ours(data: object) -> None:
    assert kept({**revision(an_object()), "data": data}) is None


def test_a_generation_without_a_revision_is_missing() -> None:
    there = (Kept(("RetryPolicy", Key("shop", "api")), "0123456789ab", 2),)
    assert list(missing([an_object()], there)) == []
    assert [each.generation for each in missing([an_object(generation=3)], there)] == [3]
    assert len(list(missing([an_object(uid="another")], there))) == 1, "deleted and made again"
    route = an_object()
    others = ClusterObject("gateway.networking.k8s.io/v1", "HTTPRoute", route.key, "u", 1, "1", {})
    assert list(missing([others], ())) == []


def test_the_oldest_of_each_document_are_too_many() -> None:
    def one(uid: str, generation: int) -> tuple[ObjectName, Kept]:
        return ObjectName("shop", f"{uid}-{generation}"), Kept(
            ("RetryPolicy", Key("shop", uid)), uid, generation
        )

    there = dict([*(one("a", number) for number in (11, 2, 9, 10)), one("b", 1)])
    assert [each.name for each in surplus(there, 2)] == ["a-2", "a-9"]
    assert list(surplus(there, 4)) == []


def test_another_namespace_says_nothing_of_what_is_kept_here() -> None:
    """Whoever may write ControllerRevisions in one namespace may give them the uid of a document of another."""
    uid = an_object().uid
    bank = {ObjectName("shop", f"r-{number}"): Kept(an_object().name, uid, number) for number in (1, 2)}
    forged = Key("evil", "api")
    evil = {
        ObjectName("evil", f"r-{number}"): Kept(("RetryPolicy", forged), uid, number) for number in (2, 8, 9)
    }
    assert [each.namespace for each in surplus(bank | evil, 2)] == ["evil"]
    assert [each.key for each in missing([an_object()], evil.values())] == [an_object().key]
