"""The tab key: commands, kinds, and names that the control plane knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.shop import a_shop, work_in
from tests.support.terminal import Terminal, through_pipe


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with a_shop(tmp_path_factory.mktemp("cli")) as made:
        yield made


@pytest.fixture
def here(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    return work_in(plane, monkeypatch)


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
