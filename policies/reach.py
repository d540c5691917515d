"""How far a document reaches by what it says: other namespaces, the whole mesh, or whatever Envoy can do. Pure.

Who may write it is for its readers to judge: the REST API by the roles of the caller, a cluster by the namespace that it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from documents.kinds import SECRET
from documents.reading import Tree
from policies import envoy_patch, extension

FOR_ADMINS: Final = frozenset({SECRET.name, envoy_patch.KIND.name, extension.KIND.name})
"""A Secret has the control plane read files of its host; the others tell Envoy anything, or have it run a program."""


def targets(tree: Tree, own: str) -> Iterator[tuple[int, str | None]]:
    """The places and namespaces of targets, as `policies.document.TargetRefSpec` reads them; None: the mesh. What is none is passed over: such
    a document is refused anyway. `own` is the document's namespace.
    """
    spec = tree.get("spec") if isinstance(tree, dict) else None
    refs = spec.get("targetRefs") if isinstance(spec, dict) else None
    for place, ref in enumerate(refs if isinstance(refs, list) else ()):
        if not isinstance(ref, dict):
            continue
        kind, name, namespace = ref.get("kind"), ref.get("name"), ref.get("namespace")
        if kind == "Mesh":
            yield place, None
            continue
        if isinstance(namespace, str) and namespace:
            yield place, namespace
        if kind == "Namespace":
            yield place, name if isinstance(name, str) and name else own
