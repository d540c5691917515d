"""What is written of an error: where it was, never what the frames on the way held."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshwright.logs import FORMATS

PROGRAM = """
import sys
import structlog
from meshwright.logs import configure

def inner(held):
    raise ValueError("told")

configure("info", sys.argv[1])
held = "-".join(["of", "a", "frame"])
try:
    inner(held)
except ValueError:
    structlog.get_logger().exception("it failed", key="value")
"""


@pytest.mark.parametrize("form", FORMATS)
def test_a_traceback_carries_no_values_of_its_frames(form: str) -> None:
    # A process of its own: logs are set up for a whole process.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True, timeout=60
    )
    assert "it failed" in done.stderr
    assert "ValueError" in done.stderr
    assert "told" in done.stderr
    assert "inner" in done.stderr
    assert "of-a-frame" not in done.stderr
    assert "locals" not in done.stderr
