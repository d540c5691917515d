"""Plans without a control plane: over a directory of documents alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mesh.state import MeshState
from meshwright.certificates import NoCertificates
from meshwright.plan.asked import Asked, Name, Unfit, body, read
from meshwright.plan.caveats import Caveat, Sort
from meshwright.plan.fleet import declared
from meshwright.plan.reckoned import Basis, Plan, plan
from meshwright.plan.twin import Setting
from store.directory import read_once

DOCUMENTS = "documents"
UNKNOWN = (
    "only the documents of the directory are known: no registry, no live proxy, no traffic of the last hour"
)


def offline(
    root: Path, files: Iterable[tuple[str, bytes]], delete: Sequence[Name], trust_domain: str
) -> Plan:
    """What writing the documents of `files`, and deleting others, would change if `root` were all that there is and each of its sidecars
    were connected. Unfit, StoreError.
    """
    asked = Asked(read(files), tuple(delete))
    found = read_once(root)
    if found.errors:
        raise Unfit(found.errors)
    state, _ = MeshState(trust_domain).apply(found.to_snapshot(DOCUMENTS))
    bodies = {name: body(found.index[name]) for name in asked.names if name in found.index}
    basis = Basis(state, declared(state), Setting(NoCertificates()), DOCUMENTS, (DOCUMENTS,), bodies)
    made = plan(basis, asked)
    return replace(made, caveats=(*made.caveats, Caveat(Sort.INCOMPLETE, "", UNKNOWN)))
