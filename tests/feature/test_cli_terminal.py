"""The command line as a person uses it, in a terminal: an editor, colours, a watch, Ctrl-C."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.processes import PATIENCE, meshwright
from tests.support.shop import a_shop, work_in
from tests.support.terminal import Terminal, on_screen, through_pipe


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with a_shop(tmp_path_factory.mktemp("cli")) as made:
        yield made


@pytest.fixture
def here(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    return work_in(plane, monkeypatch)


def an_editor(folder: Path, *lines: str) -> str:
    """A program that changes the file that it is given, as somebody at a keyboard would."""
    script = folder / "editor"
    script.write_text("\n".join(("#!/bin/sh", *lines, "")))
    script.chmod(0o700)
    return str(script)


def test_colours_are_for_terminals_that_want_them(here: ControlPlane) -> None:
    shown = on_screen("diff", "-f", "changed.yaml")
    assert {"red", "green"} <= shown.colours
    assert not on_screen("diff", "-f", "changed.yaml", env={"NO_COLOR": "1"}).colours


def test_an_edit_is_written(here: ControlPlane) -> None:
    editor = an_editor(here.folder, "sed -i 's/attempts: 2/attempts: 7/' \"$1\"")
    shown = on_screen("edit", "retry", "api", "--reason", "more tries", env={"EDITOR": editor})
    assert "RetryPolicy default/api changed" in shown
    assert shown.code == 0
    assert "attempts: 7" in through_pipe("get", "retry", "api", "-o", "yaml").out
    assert "more tries" in through_pipe("history", "retry", "api").out


def test_an_edit_that_is_refused_comes_back_with_what_is_wrong_and_is_kept(here: ControlPlane) -> None:
    seen = here.folder / "seen"
    editor = an_editor(here.folder, f'cp "$1" {seen}', "sed -i 's/attempts: .*/attempts: lots/' \"$1\"")
    shown = on_screen("edit", "retry", "api", columns=200, env={"EDITOR": editor})
    assert shown.code == 1
    assert "# It was refused:" in seen.read_text()
    assert "spec.attempts" in seen.read_text()
    kept = re.search(r"your text is kept in (\S+)", str(shown))
    assert kept, shown
    assert "attempts: lots" in Path(kept[1]).read_text()
    assert stat.S_IMODE(Path(kept[1]).stat().st_mode) == 0o600


def test_an_edit_of_what_somebody_else_has_changed_is_refused_and_kept(here: ControlPlane) -> None:
    editor = an_editor(
        here.folder,
        f"{' '.join(meshwright('apply', '-f', 'changed.yaml'))} > /dev/null",
        "sed -i 's/attempts: 2/attempts: 3/' \"$1\"",
    )
    shown = on_screen("edit", "retry", "api", columns=200, env={"EDITOR": editor})
    assert shown.code == 3
    assert "your text is kept in" in shown
    assert "attempts: 5" in through_pipe("get", "retry", "api", "-o", "yaml").out


def test_a_watch_shows_what_changes_until_it_is_ended(here: ControlPlane) -> None:
    with Terminal(*meshwright("get", "retry", "--watch")) as terminal:
        terminal.wait_for("→ Service api")
        # The first line of the stream may come later than the table: what is written is written until it is seen.
        end = time.monotonic() + PATIENCE
        while "written, revision" not in terminal.screen() and time.monotonic() < end:
            for file in ("changed.yaml", "shop.yaml"):
                assert through_pipe("apply", "-f", file, "--reason", "to be seen").code == 0
            terminal.read(0.5)
        terminal.wait_for("RetryPolicy default/api written, revision")
        terminal.wait_for("to be seen")
        terminal.type("\x03")
        assert terminal.end().code == 130


def test_the_control_planes_log_is_followed(here: ControlPlane) -> None:
    with Terminal(*meshwright("logs", "--follow", "--lines", "5")) as terminal:
        terminal.wait_for("info")
        assert through_pipe("apply", "-f", "changed.yaml").code == 0
        terminal.wait_for("RetryPolicy default/api")
        terminal.type("\x03")
        assert terminal.end().code == 130


def test_the_doctor_finds_this_control_plane_well(here: ControlPlane) -> None:
    shown = on_screen("doctor", columns=120)
    assert shown.code == 0, shown
    assert "answers at" in shown
    assert "it takes writes" in shown
    findings = json.loads(through_pipe("doctor", "-o", "json").out)
    assert {"check", "state", "found", "remedy"} == set(findings[0])
    away = through_pipe("doctor", "--data-dir", "nowhere")
    assert away.code == 1
    assert "start `meshwright serve` there" in away.out


def test_a_pipe_that_is_closed_early_is_no_error(here: ControlPlane) -> None:
    with Terminal("bash", "-c", "meshwright --help | head -1; echo over") as terminal:
        shown = terminal.end()
    assert shown.lines == ("Usage: meshwright [OPTIONS] COMMAND [ARGS]...", "over")
