"""What checks see of a directory of documents alone."""

from __future__ import annotations

from pathlib import Path

from mesh.state import MeshState
from meshwright.analysis.sight import Sight
from meshwright.errors import RefusedError
from store.directory import read_once

TRUST_DOMAIN = "mesh.local"


def sight(root: Path) -> Sight:
    """RefusedError if documents are wrong by themselves: `meshwright validate` says so too; StoreError if it cannot be read."""
    found = read_once(root)
    if found.errors:
        raise RefusedError("\n".join(map(str, found.errors)))
    state, _ = MeshState(TRUST_DOMAIN).apply(found.to_snapshot("files"))
    return Sight(state)
