"""`meshwright quarantine`: documents that are set aside because Envoy refuses what they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from api.shapes.quarantine import Quarantined
    from meshwright.api_client import Api

app = Commands(help="Documents that are set aside because Envoy refuses what they make.")

INSTEAD = {"earlier": "earlier revision", "nothing": "nothing", "itself": "what they took before"}


@app.command("list")
@remote
async def list_(
    api: Api,
    every: Annotated[
        bool, typer.Option("--all", help="Also of revisions that the documents no longer have.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the documents that are set aside: for whom, what is in force there, and Envoy's words."""
    from api.shapes.quarantine import QuarantineList
    from meshwright.commands.layout import Column
    from meshwright.commands.output import line, show, table

    items = (await api.read(QuarantineList, "quarantine")).items
    found = [each for each in items if each.active or every]
    columns = ("document", "for", "instead", "checked here", "resource", Column("why", folds=True))
    rows = [
        (
            _name(each),
            f"all of {each.envoy}"
            if each.scope == "all"
            else f"{each.refused_by} of {each.envoy or 'unknown'}",
            INSTEAD[each.instead] if each.active else "no longer in force",
            each.verdict,
            each.resource,
            " ".join(each.message.split()),
        )
        for each in found
    ]
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in found],
        lambda console: table(console, columns, rows) if rows else line(console, "nothing is in quarantine"),
        [_name(each) for each in found],
    )


@app.command("release")
@remote
async def release(
    api: Api,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="As HTTPRoute or EnvoyPatch.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="[<namespace>/]<name>")],
) -> None:
    """Send a document to everybody again, as it is. Whoever refuses it has it set aside again; a corrected one needs no release."""
    from api.shapes.quarantine import QuarantineReleased
    from meshwright.api_client import path
    from meshwright.commands.documents import split
    from meshwright.commands.kinds import kind_of

    where = path("quarantine", kind_of(kind), *split(name, api.namespace), "release")
    api.model(QuarantineReleased, (await api.send("POST", where)).body)
    typer.echo(f"released {name}: it is sent to everybody again")


def _name(each: Quarantined) -> str:
    return f"{each.kind} {each.namespace}/{each.name}"
