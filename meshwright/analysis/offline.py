"""What checks see of a directory of documents alone."""

from __future__ import annotations

import time
from pathlib import Path

from documents.sets import DocumentSet
from mesh.state import MeshState
from meshwright.analysis.sight import Sight
from meshwright.errors import RefusedError
from policies.registry import KINDS
from store.scanning import Scanner

TRUST_DOMAIN = "mesh.local"


def sight(root: Path) -> Sight:
    """RefusedError if documents are wrong by themselves: `meshwright validate` says so too; StoreError if it cannot be read."""
    scan = Scanner(root, KINDS, time.time_ns).scan()
    found = DocumentSet().with_files(scan.read, skipped=scan.skipped)
    if found.errors:
        raise RefusedError("\n".join(map(str, found.errors)))
    state, _ = MeshState(TRUST_DOMAIN).apply(found.to_snapshot("files"))
    return Sight(state)
