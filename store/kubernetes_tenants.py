"""Which documents of a cluster are in force by the namespace that they stand in. Pure.

Who may write objects in a namespace governs what is in it, and nothing beyond. What reaches further is in force in one namespace alone, the
root namespace, which a cluster's administrators keep for themselves: as the REST API takes a role in every namespace that a document reaches
(`api/changing.py`). So is what leads proxies to themselves: a gateway may serve routes of many namespaces. It is judged where objects are read and not only where they are admitted: the webhook may be away.

Objects of the Gateway API have rules of their own: their references across namespaces take a ReferenceGrant or the Gateway's consent, and
routes of another namespace's Service hold for the callers of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from documents.errors import NotPermitted, Where
from documents.gateway_api.common import OWN_GROUP
from documents.kinds import WORKLOAD
from mesh.names import is_local
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
    for path, host in _called(found):
        if is_local(host):
            yield NotPermitted(
                Where(file, path=path),
                f"{host[:253]} is the caller's own host or link: every proxy that is led there reaches what listens beside it",
                f"Put it into namespace {root}, or give what others reach",
            )
    for place, target in targets(dict(found.tree), own):
        if target != own:
            where = "the whole mesh" if target is None else f"namespace {target[:63]}"
            yield NotPermitted(
                Where(file, path=f"spec.targetRefs[{place}]"),
                f"it reaches {where}, and stands in namespace {own}",
                f"Put it into namespace {root}, or target what is in namespace {own}",
            )


def _called(found: ClusterObject) -> Iterator[tuple[str, str]]:
    """What proxies are to connect to, with its field: addresses, and names that are resolved. What is no text is refused elsewhere."""
    spec = found.tree.get("spec")
    if not isinstance(spec, Mapping):
        return
    if found.kind == WORKLOAD.name:
        yield from _texts("spec.address", [spec.get("address")])
    elif found.kind == "ExternalService":
        field = "endpoints" if spec.get("endpoints") else "hosts"
        given = spec.get(field)
        yield from _texts(f"spec.{field}", given if isinstance(given, list) else [], listed=True)


def _texts(path: str, given: Sequence[object], *, listed: bool = False) -> Iterator[tuple[str, str]]:
    for place, each in enumerate(given):
        if isinstance(each, str):
            yield f"{path}[{place}]" if listed else path, each
