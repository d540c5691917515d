"""Documents checked without a control plane, as `serve` would check them: for editors, hooks and CI."""

from __future__ import annotations

import time
from pathlib import Path

from documents.sets import DocumentSet
from policies.registry import KINDS
from store.scanning import Scanner


def validate_directory(root: Path) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Errors and warnings, a line each, and how many documents are good. StoreError if the directory cannot be read."""
    scan = Scanner(root, KINDS, time.time_ns).scan()
    found = DocumentSet().with_files(scan.read, skipped=scan.skipped)
    return tuple(map(str, found.errors)), tuple(map(str, found.warnings)), sum(1 for _ in found.documents)
