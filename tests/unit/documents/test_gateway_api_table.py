"""The table of what is supported of the Gateway API: the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_table_names_is_there() -> None:
    named = set(re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", (ROOT / "docs/gateway-api.md").read_text()))
    assert len(named) > 15
    missing = {each for each in named if not (ROOT / _place(each)).is_file()}
    assert not missing


def _place(name: str) -> str:
    return name if "/" in name else f"tests/feature/traffic/{name}"
