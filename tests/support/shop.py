"""The documents of a small shop, in the store of a control plane of its own, for tests of the command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feature.cli_cases import CHANGED, SHOP
from tests.support import binaries
from tests.support.control_plane import ControlPlane, serving
from tests.support.terminal import through_pipe


@contextlib.contextmanager
def a_shop(folder: Path) -> Iterator[ControlPlane]:
    """`shop.yaml` and `changed.yaml` lie in `folder`."""
    (folder / "shop.yaml").write_text(SHOP)
    (folder / "changed.yaml").write_text(CHANGED)
    with serving(folder) as made:
        yield made


def work_in(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    """From here on commands are for `plane`, in its folder, with the documents of the shop in force."""
    monkeypatch.setenv("MESHWRIGHT_DATA_DIR", str(plane.data))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(plane.folder))
    monkeypatch.setenv("PATH", f"{binaries.ROOT / '.venv' / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(plane.folder))
    monkeypatch.chdir(plane.folder)
    applied = through_pipe("apply", "-f", "shop.yaml")
    assert applied.code == 0, applied
    return plane
