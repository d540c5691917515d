"""`meshwright completion`: what makes the shell complete commands, kinds and names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="For which shell.", show_choices=True)],
) -> None:
    """Print the shell's completion script; names are asked of the control plane as you type.

    For this session: `source <(meshwright completion bash)`, the same with zsh, or `meshwright completion fish | source`. For all:
    write it to /etc/bash_completion.d/meshwright, to `_meshwright` in a directory of zsh's fpath, or to
    ~/.config/fish/completions/meshwright.fish.
    """
    from typer import completion as scripts

    typer.echo(
        scripts.get_completion_script(  # type: ignore[attr-defined]
            prog_name="meshwright", complete_var="_MESHWRIGHT_COMPLETE", shell=shell.value
        )
    )
