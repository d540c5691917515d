"""Documents checked without a control plane, as `serve` would check them: for editors, hooks and CI."""

from __future__ import annotations

import time
from pathlib import Path

from documents.sets import DocumentSet
from mesh.state import MeshState
from policies.notes import all_notes, route_notes
from policies.registry import KINDS
from store.scanning import Scanner


def validate_directory(root: Path) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Errors and warnings, a line each, and how many documents are good. StoreError if the directory cannot be read.

    Warnings tell what has no effect as far as this directory alone says; a registry may have the services that are missed.
    """
    scan = Scanner(root, KINDS, time.time_ns).scan()
    found = DocumentSet().with_files(scan.read, skipped=scan.skipped)
    state, _ = MeshState("validate").apply(found.to_snapshot("documents"))
    warnings = (*map(str, found.warnings), *all_notes(state), *route_notes(state))
    return tuple(map(str, found.errors)), warnings, sum(1 for _ in found.documents)
