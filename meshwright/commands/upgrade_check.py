"""`meshwright upgrade-check`: what this version would send to the proxies of a running control plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote_unless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from api.shapes.upgrade import UpgradeAnswer
    from meshwright.api_client import Api

PATIENCE = 300.0
"""Seconds: it is all that a control plane knows."""


@remote_unless("snapshot")
async def upgrade_check(
    api: Api,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            "--snapshot",
            metavar="FILE",
            help="Compare with what --save wrote, in place of a running control plane.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Only write what the running control plane knows and sends; it holds no key.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit with 1 if it would send anything else, or refuse a document."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what this version would send to the live fleet that the running one does not, before it serves anybody.

    Run it with the new version's `meshwright` against the control plane that runs the old one.
    """
    from meshwright.commands.output import line, show, tell, width_of
    from meshwright.errors import RefusedError, UsageError
    from meshwright.plan.snapshot import UnreadableSnapshot, read
    from meshwright.plan.text import folded
    from meshwright.plan.upgraded import answer

    if snapshot is not None and save is not None:
        raise UsageError("--snapshot is read, --save is written: give one of the two")
    data = snapshot.read_bytes() if snapshot is not None else await _running(api)
    if save is not None:
        save.touch(mode=0o600)
        save.write_bytes(data)
        tell(
            f"written to {save}: compare it with another version by `meshwright upgrade-check --snapshot {save}`"
        )
        return
    try:
        found: UpgradeAnswer = answer(read(data))
    except UnreadableSnapshot as error:
        raise RefusedError(str(error)) from error

    def people(console: Console) -> None:
        for each in _lines(found):
            for part in folded(each, width_of(console)):
                line(console, part)

    show(output, found.model_dump(mode="json", by_alias=True), people)
    if check and (found.resources or found.refused):
        raise typer.Exit(1)


async def _running(api: Api) -> bytes:
    import json

    # It is written again as it came: numbers and order of fields mean nothing in it.
    return json.dumps((await api.send("GET", "upgrade-check", patience=PATIENCE)).body).encode()


def _lines(found: UpgradeAnswer) -> Iterator[str]:
    from meshwright.plan.text import resources

    yield f"The running control plane is version {found.running}, this is version {found.version}."
    yield ""
    if found.refused:
        yield "Documents that this version refuses"
        yield from (f"  {each}" for each in found.refused)
        yield ""
    if found.not_sent:
        yield "Not sent by this version"
        yield from (f"  {each}" for each in found.not_sent)
        yield ""
    if found.left_out:
        yield f"{found.left_out} proxies were not compared: a rollout or a quarantine gives them other documents."
        yield ""
    if not found.resources:
        yield f"It would send nothing to any of {found.of_proxies} proxies."
        return
    yield f"It would send something to {found.proxies} of {found.of_proxies} proxies"
    yield from resources(found.resources, found.more_resources)
    if found.drains:
        yield ""
        yield f"Connections of {found.drains} proxies would be drained."
