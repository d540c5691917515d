"""What `plan` says of a change, word for word: tests/feature/plan/<case>/out.txt, rewritten by `make golden`, and read in its diff."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mesh.names import Key
from meshwright.plan.asked import Name
from meshwright.plan.checked import checked
from meshwright.plan.offline import offline
from meshwright.plan.shown import answer
from meshwright.plan.text import lines
from tests.support import binaries

CASES = Path(__file__).with_name("plan")
REWRITE = os.environ.get("MESHWRIGHT_REWRITE_GOLDENS") == "1"
NAMES = sorted(each.name for each in CASES.iterdir() if each.is_dir())


def deleted(case: Path) -> list[Name]:
    """A line for each: the kind and the key."""
    path = case / "delete"
    words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(kind, Key.parse(key)) for kind, key in words]


async def said(case: Path, documents: Path) -> str:
    (documents / "base.yaml").write_bytes((CASES / "base.yaml").read_bytes())
    change = case / "change.yaml"
    plan = offline(documents, [(change.name, change.read_bytes())], deleted(case), "mesh.test")
    found = await checked(
        plan.given, plan.resources, lambda: datetime.now(UTC), lambda: Path(binaries.envoy())
    )
    return "\n".join(lines(answer(plan, found))) + "\n"


@pytest.mark.parametrize("name", NAMES)
async def test_a_plan_reads_as_it_did(name: str, tmp_path: Path) -> None:
    found, golden = await said(CASES / name, tmp_path), CASES / name / "out.txt"
    if REWRITE:
        golden.write_text(found)
    assert found == golden.read_text()
