"""What documents of ours in a cluster were before: ControllerRevisions beside them, as StatefulSets and DaemonSets have theirs. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/: an immutable snapshot, which goes with the object
that it is of. `kubectl get controllerrevision NAME --output=jsonpath={.data} | kubectl apply -f -` brings one back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from documents.envelope import API_VERSION
from kube.resource import Object, ObjectName, Resource
from mesh.names import Key
from store.kubernetes_kinds import plural
from store.kubernetes_objects import ClusterObject
from store.stored import Name

REVISIONS: Final = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
KIND: Final = "meshwright.dev/kind"
NAME: Final = "meshwright.dev/name"
BY: Final = "meshwright.dev/written-by"
"""The field manager that wrote last, as the API server knows it: `kubectl-client-side-apply`, `argocd-controller`."""
LONGEST_LABEL: Final = 63


@dataclass(frozen=True, slots=True)
class Kept:
    """One revision that is there. `of`: the kind and key of the document, `uid` its own and `generation` that of it."""

    of: Name
    uid: str
    generation: int


def kept(found: Object) -> Kept | None:
    """What is needed of a ControllerRevision; None if it is none of ours. Its `data` is whatever its writer liked: no schema holds for it."""
    metadata, data = found["metadata"], found.get("data")
    said = data.get("metadata") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(said, dict):
        return None
    owners = metadata.get("ownerReferences") or [{}]
    kind, name = data.get("kind"), said.get("name")
    if not (metadata.get("labels") or {}).get(KIND):
        return None
    if not (isinstance(kind, str) and kind and isinstance(name, str) and name):
        return None
    return Kept(
        (kind, Key(metadata["namespace"], name)), str(owners[0].get("uid", "")), int(found.get("revision", 0))
    )


def revision(found: ClusterObject) -> Object:
    """`found` as it is now, as the ControllerRevision to be made."""
    said = found.tree["metadata"]
    metadata = {
        name: part
        for name, part in (said.items() if isinstance(said, dict) else ())
        if name != "creationTimestamp"
    }
    labels = {KIND: found.kind}
    if len(found.key.name) <= LONGEST_LABEL:
        labels[NAME] = found.key.name
    return {
        "apiVersion": REVISIONS.api_version,
        "kind": REVISIONS.kind,
        "metadata": {
            "name": f"{plural(found.kind)}-{found.key.name}-{found.uid[:8]}-{found.generation}",
            "namespace": found.key.namespace,
            "labels": labels,
            "annotations": {BY: found.by},
            "ownerReferences": [
                {
                    "apiVersion": found.api_version,
                    "kind": found.kind,
                    "name": found.key.name,
                    "uid": found.uid,
                }
            ],
        },
        "data": {**found.tree, "metadata": metadata},
        "revision": found.generation,
    }


def missing(objects: Iterable[ClusterObject], there: Iterable[Kept]) -> Iterator[ClusterObject]:
    """Documents of ours whose present generation has no revision beside it. What stands in another namespace is of no document here, whatever
    uid it says: who may write there may not therefore say what is kept here.
    """
    known = {(each.of[1].namespace, each.uid, each.generation) for each in there}
    for found in objects:
        if (
            found.api_version == API_VERSION
            and (found.key.namespace, found.uid, found.generation) not in known
        ):
            yield found


def surplus(there: Mapping[ObjectName, Kept], most: int) -> Iterator[ObjectName]:
    """Revisions beyond the newest `most` of each document."""
    by_document: dict[tuple[str, str], list[tuple[int, ObjectName]]] = {}
    for name, each in there.items():
        by_document.setdefault((name.namespace, each.uid), []).append((each.generation, name))
    for revisions in by_document.values():
        for _, name in sorted(revisions)[: max(len(revisions) - most, 0)]:
            yield name
