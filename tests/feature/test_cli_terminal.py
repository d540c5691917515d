"""The command line as a person uses it, in a terminal: an editor, the tab key, colours, Ctrl-C; and from another machine."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feature.cli_cases import CHANGED, SHOP
from tests.support import binaries
from tests.support.control_plane import ControlPlane, serving
from tests.support.processes import PATIENCE, meshwright
from tests.support.terminal import Terminal, on_screen, through_pipe

STORE = """\
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: api-1}
spec:
  services: [api]
  serviceAccount: api
  address: 127.0.0.1
  ports: [{name: http, app: 9001, sidecar: 15101}]
  meshed: true
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "shop.yaml").write_text(SHOP)
    (folder / "changed.yaml").write_text(CHANGED)
    with serving(folder) as made:
        yield made


@pytest.fixture
def here(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    """With the documents of the shop in force."""
    monkeypatch.setenv("MESHWRIGHT_DATA_DIR", str(plane.data))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(plane.folder))
    monkeypatch.setenv("PATH", f"{binaries.ROOT / '.venv' / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(plane.folder))
    monkeypatch.chdir(plane.folder)
    applied = through_pipe("apply", "-f", "shop.yaml")
    assert applied.code == 0, applied
    return plane


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


def test_the_tab_key_completes_commands_kinds_and_names(here: ControlPlane) -> None:
    with Terminal("bash", "--norc", "--noprofile", "-i", env={"PS1": "> "}) as shell:
        shell.type("source <(meshwright completion bash); echo read''y\n")
        shell.wait_for("ready")
        shell.type("meshwright desc\t")
        shell.wait_for("meshwright describe")
        shell.type("HTTPR\t")
        shell.wait_for("meshwright describe HTTPRoute")
        shell.type("ap\t")
        shell.wait_for("meshwright describe HTTPRoute api")
        shell.type("\nmeshwright get service check\t")
        shell.wait_for("meshwright get service checkout-of-the-whole-shop")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_names_are_completed_in_other_shells_too(here: ControlPlane, shell: str) -> None:
    """By the very call that their scripts make."""
    typed = {"_TYPER_COMPLETE_ARGS": "meshwright get service ", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    ran = through_pipe(env={"_MESHWRIGHT_COMPLETE": f"complete_{shell}", **typed})
    assert "checkout-of-the-whole-shop" in ran.out


def test_completion_says_nothing_where_there_is_no_control_plane(here: ControlPlane) -> None:
    typed = {"_TYPER_COMPLETE_ARGS": "meshwright get service --data-dir /nowhere "}
    ran = through_pipe(env={"_MESHWRIGHT_COMPLETE": "complete_zsh", **typed})
    assert "checkout" not in ran.out + ran.err
    assert "control plane" not in ran.out + ran.err


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


def test_a_pipe_that_is_closed_early_is_no_error(here: ControlPlane) -> None:
    with Terminal("bash", "-c", "meshwright --help | head -1; echo over") as terminal:
        shown = terminal.end()
    assert shown.lines == ("Usage: meshwright [OPTIONS] COMMAND [ARGS]...", "over")


def test_from_afar_a_token_says_what_one_may(here: ControlPlane) -> None:
    token = here.folder / "viewer.token"
    made = through_pipe("api-token", "create", "somebody", "--role", "viewer")
    assert made.code == 0, made
    token.write_text(made.out)
    afar = ("--server", f"https://localhost:{here.api}", "--token-file", str(token))
    trusted = (*afar, "--ca-file", str(here.data / "roots.pem"))
    assert "checkout-of-the-whole-shop" in through_pipe("get", "services", *trusted).out
    refused = through_pipe("delete", "retry", "api", *trusted)
    assert refused.code == 6
    assert "somebody" in refused.err
    assert "--role" in refused.err or "api-token create" in refused.err
    # Without the mesh's roots nobody is believed to be the control plane, and is shown the token.
    stranger = through_pipe("get", "services", *afar)
    assert stranger.code == 5
    assert "--ca-file" in stranger.err
    assert through_pipe("context", "set", "afar", *afar, "--ca-file", str(here.data / "roots.pem")).code == 0
    assert "checkout-of-the-whole-shop" in through_pipe("get", "services", "--context", "afar").out
    ident = re.search(r"token (\w+):", made.err)
    assert ident
    assert through_pipe("api-token", "revoke", ident[1]).code == 0
    assert through_pipe("get", "services", *trusted).code == 6


def test_a_stuck_proxy_is_named_by_who_waits(here: ControlPlane) -> None:
    (here.folder / "store.yaml").write_text(STORE)
    assert through_pipe("apply", "-f", "store.yaml").code == 0
    agent = here.sidecar("api-1", "api")
    end = time.monotonic() + PATIENCE
    while "in sync" not in (shown := through_pipe("status").out):
        assert time.monotonic() < end, shown
        time.sleep(0.1)
    assert "default/api-1" in through_pipe("top").out
    dumped = through_pipe("config-dump", "api-1")
    assert dumped.code == 0
    assert "PRIVATE" not in dumped.out
    envoys = [int(each) for each in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]
    assert envoys
    for pid in envoys:
        os.kill(pid, signal.SIGSTOP)
    try:
        late = through_pipe("apply", "-f", "changed.yaml", "--wait=1s")
    finally:
        for pid in envoys:
            os.kill(pid, signal.SIGCONT)
    assert late.code == 7, late
    assert "default/api-1" in late.err
    assert through_pipe("wait", "--timeout", "30s").code == 0
