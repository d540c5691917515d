"""`make bench` at a small size: it measures both sides and writes what it promises. The numbers are the full run's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.binaries import ROOT

NAMES = {
    "cold_start",
    "endpoint_replaced_delta",
    "endpoint_replaced_sotw",
    "service_added",
    "memory",
    "reconnect_bytes",
    "endpoint_replaced_with_policies",
    "store_list",
    "store_watch",
    "store_start",
}


@pytest.mark.timeout(600)  # Go fetches modules and compiles, once
def test_a_small_run_measures_both_sides_and_writes_every_row(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    size = ("--services", "10", "--endpoints", "3", "--proxies", "10", "--repeats", "1", "--settle", "0.2")
    ran = subprocess.run(
        [sys.executable, "-m", "bench.run", *size, "--replacements", "2", "--additions", "1", "--documents", "100", "--kubernetes", "0", "--output", str(output)],
        check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    rows = {row["name"]: row for row in json.loads(output.read_text())}
    assert rows.keys() == NAMES
    for row in rows.values():
        assert row["peer"] > 0
        assert row["ratio"] == pytest.approx(row["meshwright"] / row["peer"], rel=0.01, abs=1e-6)
    assert rows["cold_start"]["meshwright"] > 0
    assert rows["cold_start"]["tls"]["meshwright"] > 0
    # A reconnecting fleet that holds everything is sent next to nothing.
    assert rows["reconnect_bytes"]["ratio"] < 0.05
