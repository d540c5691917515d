"""Exit codes are a promise to scripts: what docs/cli.md lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from meshwright import errors
from meshwright.errors import ExitCode, MeshwrightError

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_documentation_lists_every_code() -> None:
    section = DOCUMENTATION.read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    listed = [int(each) for each in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert listed == [each.value for each in ExitCode]


def test_each_kind_of_failure_has_its_code() -> None:
    codes = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, MeshwrightError)
    }
    assert codes == {
        "MeshwrightError": 1,
        "SettingsError": 1,
        "UsageError": 2,
        "ConflictError": 3,
        "NotFoundError": 4,
        "UnreachableError": 5,
        "ForbiddenError": 6,
        "LateError": 7,
        "RefusedError": 1,
        "DemoError": 1,
    }
