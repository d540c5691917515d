"""Build the Go tools into build/bench/."""

from __future__ import annotations

import os
import pathlib
import subprocess

from bench.processes import BenchError

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "bench"


def build(name: str) -> pathlib.Path:
    """The binary of `bench/<name>`, built afresh where its sources changed (Go's own cache decides)."""
    found = subprocess.run(
        [str(ROOT / "scripts/install/go.sh")], check=False, stdout=subprocess.PIPE, text=True
    )
    if found.returncode:
        raise BenchError("no Go toolchain: see the message above")
    go = found.stdout.strip()
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / name
    ran = subprocess.run(
        [go, "build", "-trimpath", "-buildvcs=false", "-o", str(target), "."],
        check=False, cwd=ROOT / "bench" / name, env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"},
    )  # fmt: skip
    if ran.returncode:
        raise BenchError(f"go build of bench/{name} failed: see the message above")
    return target
