"""`meshwright ca`: the authority, and the rotation of its root while everything runs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from api.shapes.ca import CaStatus
    from meshwright.api_client import Api

app = Commands(help="The authority: who signs, who is trusted, and moving the mesh to a new root.")


class What(StrEnum):
    ROOT = "root"
    INTERMEDIATE = "intermediate"


@app.command("status")
@remote
async def status(
    api: Api,
    output: OutputOption = Output.TABLE,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit with 1 if a root ends soon, or a rotation waits for somebody or for you."
        ),
    ] = False,
) -> None:
    """Show the roots, the stage of a rotation, and whom it waits for: the workload, what it lacks, and until when."""
    from api.shapes.ca import CaStatus

    found = await api.read(CaStatus, "ca")
    _show(found, output)
    waits = bool(found.lagging_in_all) or found.awaits_operator
    raise typer.Exit(1 if check and (waits or found.warnings) else 0)


@app.command("rotate")
@remote
async def rotate(
    api: Api,
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
    await _run(api, "ca/rotate", output, {"what": what.value, "byHand": by_hand})


@app.command("abort")
@remote
async def abort(api: Api, output: OutputOption = Output.TABLE) -> None:
    """Turn a rotation back to where it began, as carefully as it went."""
    await _run(api, "ca/abort", output)


@app.command("proceed")
@remote
async def proceed(api: Api, output: OutputOption = Output.TABLE) -> None:
    """Let a rotation that was begun with --by-hand go on to its next stage."""
    await _run(api, "ca/proceed", output)


@app.command("forget")
@remote
async def forget(
    api: Api,
    workload: Annotated[str, typer.Argument(help="The workload, [<namespace>/]<name>.")],
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
    from meshwright.api_client import path
    from meshwright.commands.documents import split

    where = path("ca", "forget", *split(workload, api.namespace))
    await _run(api, where, output, {"evenIfConnected": even_if_connected})


async def _run(api: Api, where: str, output: Output, body: dict[str, Any] | None = None) -> None:
    from api.shapes.ca import CaStatus

    _show(api.model(CaStatus, (await api.send("POST", where, body)).body), output)


def _show(found: CaStatus, output: Output) -> None:
    from meshwright.ca_table import show_ca
    from meshwright.commands.output import show

    data = found.model_dump(mode="json", by_alias=True)
    show(output, data, lambda console: show_ca(found, console))
