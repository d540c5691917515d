"""Which documents of a cluster are in force by the namespace that they stand in. Pure.

Who may write objects in a namespace governs what is in it, and nothing beyond. What reaches further is in force in one namespace alone, the
root namespace, which a cluster's administrators keep for themselves: as the REST API takes a role in every namespace that a document reaches
(`api/changing.py`). It is judged where objects are read and not only where they are admitted: the webhook may be away.

Objects of the Gateway API have rules of their own: their references across namespaces take a ReferenceGrant or the Gateway's consent, and
routes of another namespace's Service hold for the callers of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

from documents.errors import NotPermitted, Where
from documents.gateway_api.common import OWN_GROUP
from policies.reach import FOR_ADMINS, targets
from store.kubernetes_objects import ClusterObject
from store.sets import file_of


def not_permitted(found: ClusterObject, root: str) -> Iterator[NotPermitted]:
    """Why `found` has no business where it stands; nothing if it has, or if it stands in `root`, the root namespace."""
    own = found.key.namespace
    if own == root or not found.api_version.startswith(f"{OWN_GROUP}/"):
        return
    file = file_of(found.name)
    if found.kind in FOR_ADMINS:
        yield NotPermitted(
            Where(file, path="kind"),
            f"objects of kind {found.kind} are in force in namespace {root} alone, because they can do all that a proxy can, and this one "
            f"stands in namespace {own}",
            f"Put it into namespace {root}, with the namespace of each target",
        )
        return
    for place, target in targets(dict(found.tree), own):
        if target != own:
            where = "the whole mesh" if target is None else f"namespace {target[:63]}"
            yield NotPermitted(
                Where(file, path=f"spec.targetRefs[{place}]"),
                f"it reaches {where}, and stands in namespace {own}",
                f"Put it into namespace {root}, or target what is in namespace {own}",
            )
