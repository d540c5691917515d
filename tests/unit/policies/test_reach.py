"""How far a document reaches, as its targets are read: whatever `TargetRefSpec` makes of a target, no other namespace is left out."""

from __future__ import annotations

from itertools import product

import pytest

from documents.reading import Tree
from mesh.targeting import TargetRef
from policies.document import TargetRefSpec
from policies.reach import targets

KINDS = ("Mesh", "Namespace", "Service", "Workload", "HTTPRoute")
NAMES = (None, "shop", "blog")


def said(**fields: str | None) -> dict[str, Tree]:
    return {name: text for name, text in fields.items() if text is not None}


@pytest.mark.parametrize(("kind", "name", "namespace"), list(product(KINDS, NAMES, NAMES)))
def test_all_that_a_target_means_is_named(kind: str, name: str | None, namespace: str | None) -> None:
    ref = said(kind=kind, name=name, namespace=namespace)
    reached = {target for _, target in targets({"spec": {"targetRefs": [ref]}}, "shop")}
    if name is None and kind not in {"Mesh", "Namespace"}:
        return  # It is refused: which one is not said.
    meant = TargetRefSpec.model_validate(ref).value("shop")
    if meant == TargetRef.mesh():
        assert reached == {None}
        return
    assert reached - {"shop"} >= {meant.namespace} - {"shop"}


@pytest.mark.parametrize(
    "tree",
    [None, [], {"spec": 5}, {"spec": {"targetRefs": "all"}}, {"spec": {"targetRefs": ["Mesh", 5]}}, {}],
)
def test_what_is_no_document_reaches_nothing(tree: Tree) -> None:
    assert list(targets(tree, "shop")) == []
