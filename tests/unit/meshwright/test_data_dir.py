"""One control plane for a data directory, and none that was mistyped."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshwright.cli import app
from meshwright.data_dir import held, used
from meshwright.errors import SettingsError


def test_a_second_control_plane_is_refused(tmp_path: Path) -> None:
    with (
        held(tmp_path / "data"),
        pytest.raises(SettingsError, match="another control plane works in"),
        held(tmp_path / "data"),
    ):
        pass
    with held(tmp_path / "data"):
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingsError, match="--data-dir, MESHWRIGHT_DATA_DIR"),
        held(tmp_path / "file" / "data"),
    ):
        pass


def test_tokens_are_made_only_where_a_control_plane_has_worked(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no control plane has worked in"):
        used(tmp_path / "typo")
    for command in (
        ["token", "create", "--service-account", "api"],
        ["token", "list"],
        ["token", "revoke", "x"],
    ):
        ran = CliRunner().invoke(app, [*command, "--data-dir", str(tmp_path / "typo")])
        assert isinstance(ran.exception, SettingsError)
    assert not (tmp_path / "typo").exists()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    with pytest.raises(SettingsError, match="chmod 700"), held(tmp_path / "data"):
        pass
