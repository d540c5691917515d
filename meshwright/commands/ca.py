"""`meshwright ca`: the authority, and the rotation of its root while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir, Output, OutputOption

if TYPE_CHECKING:
    from api.shapes.ca import CaStatus

app = Commands(help="The authority: who signs, who is trusted, and moving the mesh to a new root.")


class What(StrEnum):
    ROOT = "root"
    INTERMEDIATE = "intermediate"


@app.command("status")
def status(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: OutputOption = Output.TABLE,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit with 1 if a root ends soon, or a rotation waits for somebody or for you."
        ),
    ] = False,
) -> None:
    """Show the roots, the stage of a rotation, and whom it waits for: the workload, what it lacks, and until when."""
    from meshwright.client import get_ca

    found = asyncio.run(get_ca(data_dir))
    _show(found, output)
    waits = bool(found.lagging_in_all) or found.awaits_operator
    raise typer.Exit(1 if check and (waits or found.warnings) else 0)


@app.command("rotate")
def rotate(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    what: Annotated[
        What, typer.Argument(help="The root with its intermediate, or the latter alone.")
    ] = What.ROOT,
    by_hand: Annotated[
        bool,
        typer.Option(
            "--by-hand",
            help="Wait for `meshwright ca proceed` before it signs, and before the old root goes.",
        ),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Begin to move the mesh to a new root. It goes on by itself, waits for whoever lags, and loses no request."""
    from meshwright.client import rotate_ca

    _run(rotate_ca(data_dir, what=what.value, by_hand=by_hand), output)


@app.command("abort")
def abort(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """Turn a rotation back to where it began, as carefully as it went."""
    from meshwright.client import command_ca

    _run(command_ca(data_dir, "abort"), output)


@app.command("proceed")
def proceed(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """Let a rotation that was begun with --by-hand go on to its next stage."""
    from meshwright.client import command_ca

    _run(command_ca(data_dir, "proceed"), output)


@app.command("forget")
def forget(
    workload: Annotated[str, typer.Argument(help="The workload, <namespace>/<name>.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    even_if_connected: Annotated[
        bool,
        typer.Option(
            "--even-if-connected",
            help="End its streams, and let the rotation that goes on wait for nothing that it does.",
        ),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Wait no longer for a proxy that is gone for good. If it is not, and comes back, it may have to join anew."""
    from mesh.names import Key
    from meshwright.client import forget_in_ca

    _run(forget_in_ca(data_dir, Key.parse(workload), even_if_connected=even_if_connected), output)


def _run(command: Coroutine[Any, Any, CaStatus], output: Output) -> None:
    _show(asyncio.run(command), output)


def _show(found: CaStatus, output: Output) -> None:
    from meshwright.ca_table import show_ca

    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show_ca(found)
