"""A short run of every fuzzing target; the long one is `make fuzz`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.binaries import ROOT

TARGETS = (
    "csr",
    "peer",
    "join-token",
    "jwt",
    "key-set",
    "foreign-bundle",
    "node",
    "documents",
    "store-export",
    "admission-review",
    "mesh",
)
PATIENCE = 110


def fuzzed(*options: str, seconds: int = PATIENCE) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    return ran.stdout


def test_nothing_is_found_in_a_moment(tmp_path: Path) -> None:
    said = fuzzed("--all", "--seconds", "1", "--corpus", str(tmp_path))
    parts = dict(part.split(": ", 1) for part in said.split("== ")[1:])
    assert set(parts) == set(TARGETS)
    for name, part in parts.items():
        assert part.startswith("nothing was found"), name
        executed = next(line for line in part.splitlines() if "number_of_executed_units" in line)
        assert int(executed.rpartition(" ")[2]) > 20, f"{name}: the fuzzer ran"


@pytest.mark.heavy
@pytest.mark.timeout(700)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_ten_minutes(target: str, tmp_path: Path) -> None:
    fuzzed(target, "--seconds", "600", "--corpus", str(tmp_path), seconds=690)
