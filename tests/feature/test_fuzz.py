"""A short run of every fuzzing target; the long one is `make fuzz`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.binaries import ROOT

TARGETS = ("csr", "peer", "join-token", "jwt", "key-set", "foreign-bundle", "node", "documents", "mesh")
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


def test_the_targets_are_those_that_are_run() -> None:
    assert fuzzed("--list").split()[-len(TARGETS) :] == list(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_a_moment(target: str, tmp_path: Path) -> None:
    said = fuzzed(target, "--seconds", "2", "--corpus", str(tmp_path))
    executed = next(line for line in said.splitlines() if "number_of_executed_units" in line)
    assert int(executed.rpartition(" ")[2]) > 20, "the fuzzer ran"


@pytest.mark.heavy
@pytest.mark.timeout(700)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_ten_minutes(target: str, tmp_path: Path) -> None:
    fuzzed(target, "--seconds", "600", "--corpus", str(tmp_path), seconds=690)
