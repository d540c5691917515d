"""Documents checked without a control plane, as `serve` would check them: for editors, hooks and CI."""

from __future__ import annotations

from pathlib import Path

from mesh.state import MeshState
from policies.notes import all_notes, route_notes
from store.directory import read_once


def validate_directory(root: Path) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Errors and warnings, a line each, and how many documents are good. StoreError if the directory cannot be read.

    Warnings tell what has no effect as far as this directory alone says; a registry may have the services that are missed.
    """
    found = read_once(root)
    state, _ = MeshState("validate").apply(found.to_snapshot("documents"))
    warnings = (*map(str, found.warnings), *all_notes(state), *route_notes(state))
    return tuple(map(str, found.errors)), warnings, sum(1 for _ in found.documents)
